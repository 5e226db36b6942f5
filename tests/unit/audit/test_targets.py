# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hospitals import plain, write_study
from sordino.audit.targets import MODEL, NOISED, NOISED_MODEL, RAW, SUM, Audited, OpenSums
from sordino.course.follow import follow
from sordino.errors import ConfigError
from sordino.federated.study.prepared import prepare

PRIVATE = '[privacy]\nunit = "patient"\nepsilon = 50.0\ndelta = 1e-5'


def half(audited: Audited) -> np.ndarray:
    return np.arange(len(audited.target)) % 2 == 0


def test_a_study_is_seen_at_every_target(tmp_path: Path) -> None:
    audited = Audited(prepare(write_study(tmp_path)))
    seen = audited.states(half(audited), 0)
    assert list(seen) == [RAW, SUM, NOISED, MODEL, NOISED_MODEL]
    parameters = [tuple(state["parameters"]) for state in seen.values()]
    assert len(set(parameters)) == len(parameters)


def test_the_raw_update_is_one_sites_own(tmp_path: Path) -> None:
    audited = Audited(prepare(write_study(tmp_path)))
    member = half(audited)
    seen = audited.states(member, 0)
    losses = audited.losses(RAW, seen[RAW])
    assert (~np.isnan(losses) == (audited.site == audited.raw)).all()
    assert not np.isnan(audited.losses(SUM, seen[SUM])).any()


def test_a_private_study_has_its_own_noise_in_the_sum_and_the_model(tmp_path: Path) -> None:
    study = write_study(
        tmp_path, training="rounds = 3\nlearning_rate = 0.5", policy="max_patients = 60", more=PRIVATE
    )
    audited = Audited(prepare(study))
    member = half(audited)
    first, again, other = (audited.states(member, seed) for seed in (0, 0, 1))
    assert list(first) == [RAW, SUM, NOISED, MODEL]
    for target in (NOISED, MODEL):
        assert (first[target]["parameters"] == again[target]["parameters"]).all()
        assert (first[target]["parameters"] != other[target]["parameters"]).any()
    assert first[SUM]["parameters"] == pytest.approx(other[SUM]["parameters"], abs=1e-3)  # rounding only


def test_open_sums_are_those_of_the_study(tmp_path: Path) -> None:
    prepared = prepare(write_study(tmp_path))
    sites, training = prepared.sites(0), prepared.training
    state = follow(
        training.turns(),
        OpenSums(prepared.policy, tuple(sites), np.random.default_rng(0)),
        sites,
        training.initial(),
    )
    expected = follow(training.turns(), plain(training), sites, training.initial())
    assert (state["parameters"] == expected["parameters"]).all()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": 'missing = "mean"'}, "complete rows only"),
        ({"more": "[harmonise]"}, "rows as they are"),
        ({"names": ("east",)}, "needs three or more"),
    ],
)
def test_a_study_that_cannot_be_attacked_says_why(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        Audited(prepare(write_study(tmp_path, **changes)))  # type: ignore[arg-type]


def test_a_study_with_too_few_patients_at_a_site_says_where(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    rows = (tmp_path / "north.csv").read_text().splitlines()
    (tmp_path / "north.csv").write_text("\n".join(rows[:7]) + "\n")
    with pytest.raises(ConfigError, match="site 'north' has 6 patients"):
        Audited(prepare(study))


def as_number(study: Path) -> Path:
    """The study, predicting the first feature from the others."""
    text = study.read_text().replace('target = "target"', 'target = "feature 0"', 1)
    study.write_text(text + '[model]\ntype = "linear"\n')
    return study


def as_survival(study: Path, model: str = "") -> Path:
    """The study, with times of follow-up in place of classes."""
    random = np.random.default_rng(0)
    for path in study.parent.glob("*.csv"):
        header, *rows = path.read_text().splitlines()
        times = random.exponential(10.0, size=len(rows)).round(2) + 0.1
        path.write_text(
            "\n".join([f"{header},time", *(f"{row},{at:g}" for row, at in zip(rows, times, strict=True))])
        )
    text = study.read_text().replace('target = "target"', 'time = "time"\nevent = "target"', 1)
    text = text.replace("rounds = 4", 'algorithm = "risk_sets"')
    study.write_text(text + f'[model]\ntype = "cox"\n{model}\n')
    return study


def test_a_study_of_a_number_is_seen_without_noise(tmp_path: Path) -> None:
    audited = Audited(prepare(as_number(write_study(tmp_path))))
    assert "not trained with noise" in audited.lacking
    seen = audited.states(half(audited), 0)
    assert list(seen) == [RAW, SUM, MODEL]
    losses = audited.losses(MODEL, seen[MODEL])
    rows = (audited.features - seen[MODEL]["mean"]) / seen[MODEL]["scale"]
    number = (audited.target - seen[MODEL]["target_mean"]) / seen[MODEL]["target_scale"]
    predicted = rows @ seen[MODEL]["parameters"][:-1] + seen[MODEL]["parameters"][-1]
    assert losses == pytest.approx(0.5 * (predicted - number) ** 2)


def test_a_study_of_survival_is_seen_without_noise(tmp_path: Path) -> None:
    audited = Audited(prepare(as_survival(write_study(tmp_path), "least_patients = 3\ngrid = 6")))
    assert audited.target.shape == (122, 2)
    seen = audited.states(half(audited), 0)
    assert list(seen) == [RAW, SUM, MODEL]
    for target, state in seen.items():
        losses = audited.losses(target, state)
        assert np.isfinite(losses[audited.site == audited.raw]).all()
        assert np.isnan(losses).any() == (target == RAW)


def test_a_training_that_fails_on_half_of_the_patients_says_so(tmp_path: Path) -> None:
    study = as_survival(write_study(tmp_path), "least_patients = 80\ngrid = 1")
    audited = Audited(prepare(study))
    with pytest.raises(ConfigError, match="half of the patients, which fails here: fewer than 80"):
        audited.states(half(audited), 0)
