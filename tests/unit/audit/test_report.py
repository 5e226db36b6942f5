# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np

from hospitals import write_study
from sordino.audit.attributes import memorised
from sordino.audit.report import CONTROL, NULL, attribute_row, hardest
from sordino.audit.targets import Audited
from sordino.federated.study.prepared import prepare


def test_the_hardest_column_is_the_one_that_hangs_least_on_others() -> None:
    random = np.random.default_rng(0)
    one = random.normal(size=(50, 1))
    assert hardest(np.hstack([one, random.normal(size=(50, 1)), one + 0.1])) == 1
    assert hardest(one) == 0
    constant = np.full((50, 1), 0.1)  # tells nothing
    assert hardest(np.hstack([constant, random.normal(size=(50, 2))])) != 0
    assert hardest(np.hstack([constant, one])) == 1
    assert hardest(constant) == 0


def test_a_control_that_fails_is_not_passed_over() -> None:
    won, lost = memorised(), memorised(seen=False)
    assert attribute_row(CONTROL, won, "a coin").expected is True
    assert attribute_row(CONTROL, lost, "a coin").expected is False
    assert attribute_row(NULL, lost, "a coin").expected is True
    assert attribute_row(NULL, won, "a coin").expected is False
    assert attribute_row("final model", won, "a coin").expected is None


def test_a_study_without_held_out_patients_can_be_attacked(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    study.write_text(study.read_text().replace("[test]\nfraction = 0.3\n", ""))
    prepared = prepare(study)
    assert prepared.study.test is None
    assert len(Audited(prepared).states(np.ones(122, dtype=bool), 0)) == 5
