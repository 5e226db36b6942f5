# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hospitals import write_csv, write_study
from sordino.aggregation.masked import MaskedAggregator
from sordino.errors import PolicyRefused
from sordino.federated.study.prepared import examine, prepare
from sordino.federated.study.schema import Schema
from sordino.federated.study.split import drawn


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("threshold = 2", "threshold 2 is too small for 4 sites and 1 colluders"),
        ("threshold = 9", "threshold must be from 2 to 4, got 9"),
        ("colluders = 3", "colluders must be from 0 to 2, got 3"),
        ("min_cohort = 2", "min_cohort must be from 3 to 4, got 2"),
        ("max_dropouts = 5", "max_dropouts must be from 0 to 4, got 5"),
        ("max_patients = 1000000\nupdate_clip = 1e12", "update_clip: 4 sites of up to 1000000 patients"),
    ],
)
def test_impossible_policy_is_refused_before_anything_runs(tmp_path, policy, said):
    path = write_study(tmp_path, policy=f'across_rounds = "accept"\n{policy}')
    prepared, findings = examine(path)
    assert prepared is None
    assert any(said in fault for fault in findings.faults)


def test_resolution_that_does_not_fit_gives_way(tmp_path):
    prepared = prepare(write_study(tmp_path, policy='across_rounds = "accept"\nfraction_bits = 60'))
    assert 40 < prepared.training.fedavg.question().blocks[0].fraction_bits < 60


def test_faults_of_the_rows_and_of_the_policy_are_told_together(tmp_path):
    path = write_study(tmp_path, policy='across_rounds = "accept"\nthreshold = 2')
    (tmp_path / "west.csv").unlink()
    _, findings = examine(path)
    assert len(findings.faults) == 2


def test_warning_of_accepted_differences(tmp_path):
    assert any("differ by one site" in text for text in examine(write_study(tmp_path))[1].warnings)
    frozen = write_study(tmp_path, policy='across_rounds = "freeze"')
    assert examine(frozen)[1].warnings == ()


def test_warning_of_dropouts_beyond_tolerance_or_under_freeze(tmp_path):
    more = "[[dropouts]]\nround = 2\nsite = 'east'\n[[dropouts]]\nround = 2\nsite = 'west'"
    _, findings = examine(write_study(tmp_path, more=more))
    assert any("lost in round 2 than the 1 that the policy tolerates" in text for text in findings.warnings)
    more = "[[dropouts]]\nround = 2\nsite = 'east'"
    _, findings = examine(write_study(tmp_path, more=more, policy='across_rounds = "freeze"'))
    assert any("holds on to the sites of the first sum" in text for text in findings.warnings)


def test_split_is_stratified_at_every_site_and_repeats_differ(tmp_path):
    prepared = prepare(write_study(tmp_path, test="fraction = 0.25\nrepeats = 2"))
    first, second = prepared.sites(0), prepared.sites(1)
    for name, site in first.items():
        whole = prepared.cohort.sites[name]
        assert len(site.target) + len(site.test_target) == len(whole.target)
        assert site.test_target.sum() == round(0.25 * whole.target.sum())
        np.testing.assert_array_equal(prepared.sites(0)[name].features, site.features)
    assert any(not np.array_equal(first[name].features, second[name].features) for name in first)


def test_a_class_with_one_patient_stays_in_training():
    target = np.array([0.0] * 9 + [1.0])
    held_out = drawn("north", target, fraction=0.9, seed=0)
    assert not held_out[9]
    assert held_out.sum() == 8


def test_patients_may_be_held_out_by_id(tmp_path):
    prepared = prepare(write_study(tmp_path, test="ids = ['north-3', 'west-0']"))
    sites = prepared.sites(0)
    assert {name: len(site.test_target) for name, site in sites.items()} == {
        "east": 0,
        "north": 1,
        "south": 0,
        "west": 1,
    }
    np.testing.assert_array_equal(sites["north"].test_features[0], prepared.cohort.sites["north"].features[3])


def test_schema_hash_tells_names_order_target_and_coding_apart():
    schema = Schema(("a", "b"), ("target", ("0", "1")))
    others = [
        replace(schema, features=("b", "a")),
        replace(schema, features=("a", "c")),
        replace(schema, features=("a",)),
        replace(schema, coding=("other", ("0", "1"))),
        replace(schema, coding=("target", ("1", "0"))),
    ]
    assert len({one.digest for one in [schema, *others]}) == 6


def test_site_whose_schema_differs_is_refused_before_the_first_sum(tmp_path):
    prepared = prepare(write_study(tmp_path))
    other = Schema(("feature 0",), ("target", ("0", "1"))).digest
    with pytest.raises(PolicyRefused, match=r"schema|north"):
        MaskedAggregator(
            prepared.policy,
            prepared.study.site_names,
            schemas={**prepared.cohort.schemas, "north": other},
        )


def test_digest_changes_with_the_rows_and_with_the_study(tmp_path):
    path = write_study(tmp_path)
    first = prepare(path).digest
    assert prepare(path).digest == first
    (tmp_path / "a").mkdir()
    assert prepare(write_study(tmp_path / "a", training="rounds = 5")).digest != first
    (tmp_path / "b").mkdir()
    changed = write_study(tmp_path / "b")
    header = ["id", "feature 0", "feature 1", "feature 2", "target"]
    write_csv(tmp_path / "b" / "north.csv", header, [["p0", 1, 2, 3, 0], ["p1", 1, 2, 4, 1]])
    assert prepare(changed).digest != first
