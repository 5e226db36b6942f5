# SPDX-License-Identifier: Apache-2.0

"""Nine sites of lung-cancer patients, each without one of three modalities: both fusions."""

from __future__ import annotations

import os
from itertools import zip_longest
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

from sordino.aggregation.masked import MaskedAggregator
from sordino.aggregation.plain import PlainAggregator
from sordino.course.follow import follow
from sordino.federated.study.prepared import prepare

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SORDINO_SHARED_DATA", ROOT.parent / "shared" / "data")) / "nsclc-captk"
EXAMPLE = ROOT / "examples" / "nsclc-captk.toml"
AUC = {"early": 0.6207, "late": 0.6183}
"""Of the first split, as they were seen; the example has those of all twenty."""

pytestmark = [
    pytest.mark.skipif(
        not SHARED.exists(), reason=f"{SHARED} is not there; SORDINO_SHARED_DATA may say where it is"
    ),
    pytest.mark.filterwarnings("ignore::sordino.aggregation.plain.PlainSumWarning"),
]


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites")
    return run_path(str(ROOT / "examples" / "nsclc_captk.py"))["write_sites"](SHARED, folder)


@pytest.fixture(scope="module", params=sorted(AUC))
def prepared(request, sites):
    study = EXAMPLE.read_text(encoding="utf-8")
    if request.param == "early":
        study = study[: study.index("\n[fusion]")] + study[study.index("\n[model]") :]
    path = sites[0].parent / f"{request.param}.toml"
    path.write_text(study, encoding="utf-8")
    return request.param, prepare(path)


def test_every_site_lacks_one_modality_and_each_is_at_six_of_nine(prepared):
    _, study = prepared
    every = {"imaging", "clinical", "genomic"}
    lacked = sorted(tuple(sorted(every - own)) for own in study.groups.values())
    assert lacked == sorted([("clinical",), ("genomic",), ("imaging",)] * 3)
    rows = study.cohort.sites.values()
    assert sum(len(own.target) for own in rows) == 206
    assert sum(own.target.sum() for own in rows) == 41


def test_masked_sums_equal_plain_ones_and_reach_the_expected_auc(prepared):
    kind, study = prepared
    training, names = study.training, study.study.site_names
    seen = {PlainAggregator: [], MaskedAggregator: []}
    for aggregator, events in seen.items():
        with aggregator(study.policy, names, groups=study.groups, schemas=study.cohort.schemas) as sums:
            start, own = training.initial(), study.sites(0)
            state = follow(training.turns(), sums, own, start, notify=events.append)
    for ours, theirs in zip_longest(*seen.values()):
        np.testing.assert_array_equal(ours.total.integers, theirs.total.integers)
    auc = training.outcome.tested(state)["auc"]
    print(f"\n{kind} {auc:.4f}")  # noqa: T201
    assert auc == pytest.approx(AUC[kind], abs=0.02)
