# SPDX-License-Identifier: Apache-2.0

"""[harmonise]: a study over scanners that shift and stretch trains as on rows harmonised in one place."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from hospitals import write_csv
from sordino.aggregation.masked import MaskedAggregator
from sordino.cli.app import app
from sordino.course.follow import STOPPED, Aborted, Summed, follow
from sordino.errors import ConfigError
from sordino.federated.study.model_file import read_model
from sordino.federated.study.prepared import examine, prepare
from sordino.federated.study.run import run_study
from sordino.federated.subgroups import cell_state
from sordino.models.logistic import Logistic
from sordino.statistics.combat import SplitBatchWarning, harmonise
from sordino.statistics.combat.stages import CombatReference

SITES = ("east", "isle", "north", "south", "west")
SCANNERS = {"east": "AB", "isle": "AC", "north": "AD", "south": "AE", "west": "AF"}
"""A stands everywhere and is shared; the others at one site each."""
FEATURES = ("one", "two", "three")
EFFECTS = {
    "A": (0.0, 1.0),
    "B": (2.0, 0.5),
    "C": (-3.0, 2.0),
    "D": (1.0, 1.5),
    "E": (4.0, 0.7),
    "F": (-1.0, 3.0),
}


REFERENCE = CombatReference.kind


def rows(seed=0, patients=40):
    """By site: id, age, sex, scanner, three features, label."""
    random = np.random.default_rng(seed)
    found = {}
    for place, site in enumerate(SITES):
        found[site] = []
        for number in range(patients + 2 * place):
            scanner = SCANNERS[site][number % 2]
            age, sex = random.normal(60.0, 9.0), random.choice(["f", "m"])
            truth = random.normal(size=3) + 0.04 * (age - 60.0) + 0.5 * (sex == "m")
            label = int(truth @ [1.0, -1.0, 0.5] + random.logistic() * 0.7 > 0.0)
            shift, stretch = EFFECTS[scanner]
            seen = (shift * np.array([1.0, 0.5, -1.0]) + stretch * truth) * [1.0, 1e3, 1e-3]
            found[site].append([f"{site}{number}", age, sex, scanner, *seen.tolist(), label])
    return found


HEADER = ["id", "age", "sex", "scanner", *FEATURES, "target"]
TABLE = 'batch = "scanner"\ncovariates = ["age", "sex"]\nlevels = { sex = ["f", "m"] }'


def written(
    folder, table=TABLE, *, given=None, data="", training="rounds = 3", test="fraction = 0.25", more=""
):
    given = rows() if given is None else given
    for site in SITES:
        write_csv(folder / f"{site}.csv", HEADER, given[site])
    sites = "\n".join(f'[[sites]]\nname = "{site}"\npath = "{site}.csv"' for site in SITES)
    if "exclude" not in data and "features" not in data:
        data += '\nfeatures = ["one", "two", "three"]'
    path = folder / "study.toml"
    path.write_text(
        f'name = "scanners"\n[data]\ntarget = "target"\n{data}\n{sites}\n[training]\n{training}\n'
        f"[test]\n{test}\n[model]\nl2 = 0.05\n"
        '[policy]\nacross_rounds = "accept"\nmin_cohort = 3\nmax_patients = 100\n'
        f"[harmonise]\n{table}\n{more}\n"
    )
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a short run."""
    folder = tmp_path_factory.mktemp("finished")
    run_study(prepare(written(folder, training="rounds = 1")), folder / "out")
    return folder / "out"


def by_the_library(prepared, **settings):
    """What `harmonise` makes of the training rows of the first repeat, and of those held out."""
    sites = prepared.sites(0)

    def told(part):
        return {
            name: {"age": one.origins[part].covariates[:, 0], "sex": one.origins[part].covariates[:, 1]}
            for name, one in sites.items()
        }

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SplitBatchWarning)
        done = harmonise(
            {name: one.features for name, one in sites.items()},
            batch={name: one.origins["features"].batches for name, one in sites.items()},
            covariates=told("features"),
            aggregator="plain",
            min_cohort=3,
            max_patients=100,
            **settings,
        )
    held_out = {
        name: done.adjust(
            name,
            one.test_features,
            batch=one.origins["test_features"].batches,
            covariates=told("test_features")[name],
        )
        for name, one in sites.items()
    }
    return sites, done.adjusted, held_out


def trained(prepared, **settings):
    """The state after all sums, masked."""
    names = prepared.study.site_names
    with MaskedAggregator(
        prepared.policy, names, groups=prepared.groups, schemas=prepared.cohort.schemas
    ) as adder:
        return follow(
            prepared.training.turns(), adder, prepared.sites(0), prepared.training.initial(), **settings
        )


@pytest.mark.parametrize(
    ("table", "settings"),
    [
        (TABLE, {}),
        (TABLE + '\nvariant = "location"', {"location_only": True}),
        (TABLE + '\nvariant = "no_eb"', {"empirical_bayes": False}),
        (TABLE + '\nreference = "A"', {"reference": "A"}),
        (
            TABLE + '\nreference = "C"\ndiscloses_reference = true',
            {"reference": "C", "discloses_reference": True},
        ),
    ],
)
def test_study_has_the_rows_the_model_and_the_auc_of_harmonise_and_pooled_training(tmp_path, table, settings):
    prepared = prepare(written(tmp_path, table, training="rounds = 90"))
    assert prepared.training.harmonisation.plan.layout.shared == ("A",)
    state = trained(prepared)
    sites, adjusted, held_out = by_the_library(prepared, **settings)
    for name, site in sites.items():
        ready = prepared.training.harmonised(site, state)
        for mine, theirs in ((ready.features, adjusted[name]), (ready.test_features, held_out[name])):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max(axis=0).max())
    together = np.concatenate([adjusted[name] for name in SITES])
    mean, scale = together.mean(axis=0), together.std(axis=0)
    target = np.concatenate([sites[name].target for name in SITES])
    optimum = Logistic(3, 0.05).fit((together - mean) / scale, target)
    np.testing.assert_allclose(state["parameters"], optimum, atol=1e-3)
    test = (np.concatenate([held_out[name] for name in SITES]) - mean) / scale
    truth = np.concatenate([sites[name].test_target for name in SITES])
    auc = roc_auc_score(truth, Logistic(3).probability(optimum, test))
    tested = prepared.training.outcome.tested(state)
    assert abs(tested["auc"] - auc) <= tested["auc_off_by_at_most"] + 0.01


def test_held_out_patients_move_no_estimate(tmp_path):
    """Their features may be anything: nothing but they themselves and their test changes."""
    given = rows()
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one = prepare(written(tmp_path / "one", given=given))
    held_out = {tuple(row) for site in one.sites(0).values() for row in site.test_features.tolist()}
    for site in SITES:
        for row in given[site]:
            if tuple(row[4:7]) in held_out:
                row[4:7] = [100.0 * row[4], row[5] + 1e5, 0.0]
    other = prepare(written(tmp_path / "other", given=given))
    states = [trained(prepared) for prepared in (one, other)]
    assert len(held_out) > 40
    for name in ("parameters", *one.training.harmonisation.reads, "mean", "scale"):
        np.testing.assert_array_equal(states[0][name], states[1][name])
    effects = [
        prepared.training.harmonisation.effects(prepared.sites(0)["north"], state)
        for prepared, state in zip((one, other), states, strict=True)
    ]
    for label, effect in effects[0].items():
        np.testing.assert_array_equal(effect.gamma, effects[1][label].gamma)


@pytest.mark.parametrize("kind", ["combat_units", "combat_centres", "combat"])
def test_site_that_a_sum_of_combat_loses_is_adjusted_all_the_same(tmp_path, kind):
    prepared = prepare(written(tmp_path))
    survivors = {}

    def note(event):
        if isinstance(event, Summed):
            survivors[event.turn.stage.kind] = event.total.survivors

    def lose(asked, _number):
        return {"west": "upload"} if asked == kind else {}

    state = trained(prepared, lose=lose, notify=note)
    assert "west" not in survivors[kind]
    assert "west" in survivors[prepared.training.trainer.kind]
    sites = prepared.sites(0)
    ready = {name: prepared.training.harmonised(site, state).features for name, site in sites.items()}
    _, adjusted, _ = by_the_library(prepared, lose={kind: {"west": "upload"}}, across_rounds="accept")
    for name in SITES:
        np.testing.assert_allclose(ready[name], adjusted[name], rtol=1e-6, atol=1e-6)


def test_sum_without_its_reference_is_asked_for_again(tmp_path):
    table = TABLE + '\nreference = "C"\ndiscloses_reference = true'
    prepared, seen = prepare(written(tmp_path, table)), []
    lost = {REFERENCE: {"isle": "upload"}}
    state = trained(prepared, lose=lambda kind, _: lost.get(kind, {}), notify=seen.append)
    assert [type(event) for event in seen if event.turn.stage.kind == REFERENCE] == [Aborted, Summed]
    np.testing.assert_array_equal(state["parameters"], trained(prepared)["parameters"])


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", ["combat_centres", "combat", "variances"])
def test_run_that_is_killed_between_the_sums_goes_on_to_the_same_model(tmp_path, after):
    prepared = prepare(written(tmp_path, test="fraction = 0.25\nrepeats = 2"))
    run_study(prepared, tmp_path / "whole")

    def watch(now):
        if now.event.turn.stage.kind == after:
            raise Killed

    with pytest.raises(Killed):
        run_study(prepared, tmp_path / "killed", watch=watch)
    run_study(prepared, tmp_path / "killed")
    for name in ("model.json", "metrics.json", "sites/west/effects.json"):
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text(), name
    one, other = (
        json.loads((tmp_path / run / "sites/west/report.json").read_text())["own_performance"]
        for run in ("killed", "whole")
    )
    assert one == other
    scores = json.loads((tmp_path / "whole" / "metrics.json").read_text())["secure_sums"]["repeats"]
    assert scores[0]["test"] != scores[1]["test"]


def test_predict_adjusts_new_patients_by_what_their_site_kept(tmp_path):
    prepared = prepare(written(tmp_path, more="[simulation]\ncompare_plain = true\ncompare_pooled = true"))
    out = tmp_path / "out"
    run_study(prepared, out)
    found = json.loads((out / "metrics.json").read_text())["simulation"]
    assert found["compared_with_plain_sums"]["equal_bit_for_bit"] == found["compared_with_plain_sums"]["sums"]
    assert abs(found["test_auc_difference"]["mean"]) < 0.2
    effects = out / "sites" / "north" / "effects.json"
    assert effects.stat().st_mode & 0o777 == 0o600
    model = json.loads((out / "model.json").read_text())
    assert set(json.loads(effects.read_text())["effects"]) == {"A", "D"}
    assert model["harmonisation"]["shared"] == ["A"]
    assert "gamma" not in (out / "model.json").read_text()
    site = prepared.sites(0)["north"]
    chosen = [number for number, row in enumerate(rows()["north"]) if row[4] in site.test_features[:, 0]]
    new = write_csv(tmp_path / "new.csv", HEADER, [rows()["north"][number] for number in chosen])
    ran = CliRunner().invoke(app, ["predict", str(out / "model.json"), str(new), "--site", "north"])
    assert ran.exit_code == 0, ran.output
    scores = [float(line.split(",")[1]) for line in ran.stdout.splitlines()[1:]]
    _, _, held_out = by_the_library(prepared)
    scaler = model["scaler"]
    scaled = (held_out["north"] - scaler["mean"]) / scaler["scale"]
    parameters = np.array([*model["coefficients"], model["intercept"]])
    np.testing.assert_allclose(scores, Logistic(3).probability(parameters, scaled), atol=1e-5)


@pytest.mark.parametrize(
    ("scanner", "options", "message"),
    [
        ("D", [], "nothing is known of batch 'D', only of ['A']: if it is a site's own, say whose"),
        ("Z", ["--site", "north"], "nothing is known of batch 'Z', only of ['A', 'D']"),
        ("B", ["--site", "north"], "nothing is known of batch 'B'"),
        ("A", ["--site", "nowhere"], "effects.json: cannot be read"),
        ("", ["--site", "north"], "column 'scanner': the batch is missing"),
    ],
)
def test_predict_refuses_a_batch_that_it_does_not_know(finished, tmp_path, scanner, options, message):
    new = write_csv(tmp_path / "new.csv", HEADER, [["p", 60.0, "f", scanner, 0.0, 0.0, 0.0, 1]])
    model = finished / "model.json"
    ran = CliRunner().invoke(app, ["predict", str(model), str(new), *options])
    assert isinstance(ran.exception, ConfigError) or ran.exit_code
    assert message in f"{ran.output} {ran.exception}"
    if scanner == "A":  # of a shared batch everybody knows the effect
        assert CliRunner().invoke(app, ["predict", str(model), str(new)]).exit_code == 0


def test_effects_of_another_run_are_refused(finished, tmp_path):
    run_study(prepare(written(tmp_path, given=rows(1), training="rounds = 1")), tmp_path / "out")
    effects = "sites/north/effects.json"
    (tmp_path / "out" / effects).write_bytes((finished / effects).read_bytes())
    new = write_csv(tmp_path / "new.csv", HEADER, [["p", 60.0, "f", "D", 0.0, 0.0, 0.0, 1]])
    ran = CliRunner().invoke(
        app, ["predict", str(tmp_path / "out" / "model.json"), str(new), "--site", "north"]
    )
    assert "of another run" in f"{ran.output} {ran.exception}"


def test_sites_are_the_batches_unless_a_column_is_named(tmp_path):
    prepared = prepare(written(tmp_path, ""))
    assert prepared.training.harmonisation.plan.layout.shared == ()
    run_study(prepared, tmp_path / "out")
    model = read_model(tmp_path / "out" / "model.json")
    new = write_csv(tmp_path / "new.csv", ["id", *FEATURES], [["p", 0.0, 0.0, 0.0]])
    chances = []
    for site in SITES:
        ran = CliRunner().invoke(
            app, ["predict", str(tmp_path / "out" / "model.json"), str(new), "--site", site]
        )
        chances.append(float(ran.stdout.splitlines()[1].split(",")[1]))
    assert len(set(chances)) == len(SITES)
    assert model.harmonisation.batch == "site"


def test_missing_values_are_harmonised_first_and_then_filled(tmp_path):
    given = rows()
    for site in SITES:
        for row in given[site][::7]:
            row[5] = ""
    allowed = TABLE + "\ndiscloses_patients = true"
    prepared = prepare(written(tmp_path, allowed, given=given, data='missing = "mean"'))
    state = trained(prepared)
    _, adjusted, _ = by_the_library(prepared, discloses_patients=True)
    together = np.concatenate([adjusted[name] for name in SITES])
    np.testing.assert_allclose(state["fill"], np.nanmean(together, axis=0), rtol=1e-5, atol=1e-8)
    _, findings = examine(written(tmp_path, TABLE, given=given, data='missing = "mean"'))
    assert "would show that patient's covariates" in " ".join(findings.faults)


def test_subgroups_may_be_by_scanner(tmp_path):
    parted = '[[subgroups]]\ncolumn = "scanner"\nlevels = ["A"]'
    prepared = prepare(written(tmp_path, test="fraction = 0.4", more=parted))
    state = trained(prepared)
    sites, _, held_out = by_the_library(prepared)
    scaled = (np.concatenate([held_out[name] for name in SITES]) - state["mean"]) / state["scale"]
    chance = Logistic(3).probability(state["parameters"], scaled)
    truth = np.concatenate([sites[name].test_target for name in SITES])
    on_a = np.concatenate([sites[name].origins["test_features"].batches == "A" for name in SITES])
    told = prepared.training.outcome.tested(cell_state(state, 0))
    assert told["patients"] == on_a.sum() < len(truth)
    assert abs(told["auc"] - roc_auc_score(truth[on_a], chance[on_a])) <= told["auc_off_by_at_most"] + 1e-9


def test_training_stops_early_by_harmonised_patients(tmp_path):
    prepared = prepare(written(tmp_path, training="rounds = 40\nvalidation = 0.2\npatience = 1"))
    state = trained(prepared)
    site = prepared.training.harmonised(prepared.sites(0)["west"], state)
    assert len(state["validation_losses"]) > 1
    assert STOPPED in state or len(state["validation_losses"]) == 40
    raw = prepared.sites(0)["west"].validation_features
    assert not np.allclose(site.validation_features, raw)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"table": 'batch = "scaner"'}, "no column 'scaner'"),
        ({"table": 'covariates = ["weight"]'}, "no column 'weight'"),
        ({"table": 'covariates = ["sex"]'}, "if the covariate 'sex' is of classes"),
        ({"table": 'covariates = ["target"]'}, "which new patients do not have yet"),
        ({"table": 'covariates = ["one"]'}, "which 'data.features' holds"),
        ({"table": 'covariates = ["age", "age"]'}, "names the column 'age' twice"),
        ({"table": TABLE.replace('"m"', '"x"')}, "column 'sex': 'm' is none of"),
        ({"table": 'levels = { sex = ["f", "m"] }'}, "which is no covariate"),
        ({"table": 'reference = "nowhere"'}, "harmonise: the reference 'nowhere' is none of the batches"),
        ({"table": 'reference = "west"'}, "discloses_reference"),
        ({"table": 'batch = "id"'}, "is 'id', the column of 'data.id'"),
        ({"table": 'variant = "bayes"'}, "'harmonise.variant' is 'bayes', allowed is"),
        ({"table": 'vriant = "location"'}, "did you mean 'variant'?"),
        (
            {"table": 'covariates = ["place"]'},
            "harmonise: covariate 'place' is confounded with the batch",
        ),
        ({"more": "[privacy]\nunit = 'patient'\nepsilon = 5.0\ndelta = 1e-5"}, "does not go with [privacy]"),
        ({"more": '[[modalities]]\nname = "x"\ncolumns = ["one"]'}, "does not go with [[modalities]]"),
        ({"table": 'batch = "same"'}, "harmonise: there is one batch only"),
    ],
)
def test_check_says_what_cannot_be_harmonised(tmp_path, changes, fault):
    path = written(tmp_path, **changes)
    for place, site in enumerate(SITES):
        write_csv(
            tmp_path / f"{site}.csv",
            [*HEADER, "place", "same"],
            [[*row, place, "s"] for row in rows()[site]],
        )
    prepared, findings = examine(path)
    assert prepared is None
    assert fault in "\n".join(findings.faults)


def test_check_warns_of_a_batch_of_one_and_refuses_one_that_is_held_out(tmp_path):
    given = rows()
    given["north"][0][3] = "L"
    path = written(tmp_path, given=given, test='ids = ["north1"]')
    prepared, findings = examine(path)
    assert prepared is not None
    assert any("batch 'L' of site 'north' has one patient to train on" in one for one in findings.warnings)
    path.write_text(path.read_text().replace('ids = ["north1"]', 'ids = ["north0"]'))
    prepared, findings = examine(path)
    assert prepared is None
    assert "site 'north' has nobody of batch 'L' to train on in repeat 1" in "\n".join(findings.faults)


def test_check_tells_of_the_batches_and_the_plan_has_their_sums(tmp_path):
    path = written(tmp_path)
    ran = CliRunner().invoke(app, ["check", str(path)])
    assert "harmonised over 6 batches, 1 of them shared by several sites; preserved: age, sex" in ran.stdout
    planned = CliRunner().invoke(app, ["plan", str(path), "--json"])
    assert planned.exit_code == 0
    assert '"combat"' in planned.stdout


def test_columns_of_harmonise_are_no_features_and_part_of_what_sites_agree_on(tmp_path):
    prepared = prepare(written(tmp_path, data="exclude = []"))
    assert prepared.cohort.schema.features == FEATURES
    other = prepare(written(tmp_path, TABLE + '\nvariant = "location"', data="exclude = []"))
    assert other.cohort.schema.digest != prepared.cohort.schema.digest
