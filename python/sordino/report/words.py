# SPDX-License-Identifier: Apache-2.0

"""A study in plain words: its terms, who can see what, what to be careful about, and its model's card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sordino.report.folder import Folder

WIDE = 10.0
"""An epsilon from which on the bound says little: results may be e^10 times as likely with a patient."""

FEW = 100
"""Held-out patients below which figures are said to be of few."""

OFTEN = 0.2
"""Part of the rounds from which on a site's absence is told among the warnings."""

QUESTIONS = {
    "combat_units": "typical size of each feature, to harmonise",
    "combat_centres": "centres of the features, to harmonise",
    "combat": "batch effects on the features",
    "combat_reference": "the reference batch of the features",
    "units": "typical size of each feature",
    "means": "means of the features",
    "variances": "spread of the features",
    "moments": "means and spread of the features, gaps left out",
    "presence": "how many values each feature has",
    "magnitudes": "typical size of each feature, with noise",
    "private_means": "means of the features, with noise",
    "spreads": "spread of the features, with noise",
    "curvature": "curvature, for a safe step",
    "fedavg": "training",
    "scaffold": "training",
    "gradient": "training, with noise",
    "update": "training, with noise",
    "local": "training, with noise",
    "risk_sets": "training on risk sets",
    "event_quantiles": "quantiles of event times",
    "leaving": "patients who leave at each time",
    "validation": "loss on validation patients",
    "private_validation": "loss on validation patients, with noise",
    "evaluation": "test by probability and class",
    "private_evaluation": "test by probability and class, with noise",
    "concordance": "test by risk, time and event",
    "regression": "test by squared and absolute errors",
    "subgroup_sizes": "size of each subgroup",
    "subgroup_evaluation": "test of each subgroup",
    "private_subgroups": "test of each subgroup, with noise",
}
"""What a question asks, by its kind; one that is not here is called by its kind."""

METRICS = {"auc": "AUC", "r2": "R²", "c_index": "C-index"}
MODELS = {
    "logistic": "logistic regression",
    "linear": "linear regression",
    "cox": "Cox's proportional hazards",
    "mlp": "a multi-layer perceptron of two classes",
    "mlp_number": "a multi-layer perceptron of a number",
}
NUMBERS = {"linear", "mlp_number"}
"""The models that predict a number."""
ALGORITHMS = {
    "fedavg": "federated averaging",
    "fedprox": "FedProx",
    "scaffold": "SCAFFOLD",
    "risk_sets": "Newton steps over secure risk-set sums",
}
AFTER_SUMS = ("secure sum", "secure sum with noise", "final model")
"""Targets of an audit that somebody holds in the study as it is."""

UNITS = {
    "patient": "one patient of one site",
    "patient-local": "one patient of one site, hidden by that site's own noise",
    "site": "one whole site",
}


def warnings(folder: Folder, past: Mapping[str, Any], own: bool) -> list[str]:
    """What a reader must know before anything else, the gravest first."""
    told = [
        *_of_results(folder, past),
        *_of_exposure(folder),
        *_of_audit(folder),
        *_of_ledgers(folder, past),
        *_of_sites(folder, past, own),
    ]
    return told + [f"Not complete: {said}" for said in folder.missing]


def _of_results(folder: Folder, past: Mapping[str, Any]) -> list[str]:
    metrics, told = folder.metrics, []
    if not past["finished"]:
        planned = f" of {past['sums_planned']} planned" if past["sums_planned"] else ""
        reached = f"{past['sums']}{planned} sums are in its transcript"
        told.append(f"This run is not finished: {reached}. What follows is what it had come to.")
    repeats = metrics.get("secure_sums", {}).get("repeats", [])
    stops = [repeat["stopped"]["round"] for repeat in repeats if repeat.get("stopped", {}).get("diverged")]
    if stops:
        rounds = ", ".join(map(str, stops))
        told.append(f"Training diverged in round {rounds}: the model is the last good one, no finished one.")
    if metrics and not any("test" in repeat for repeat in repeats):
        told.append("No patient was held out: nothing here says how well the model does on new patients.")
    tests = [repeat["test"] for repeat in repeats if "test" in repeat]
    if tests and tests[0].get("patients", FEW) < FEW:
        told.append(
            f"The model is tested on {tests[0]['patients']} patients only: its figures may be far off."
        )
    compared = metrics.get("simulation", {}).get("compared_with_plain_sums")
    if compared and compared["equal_bit_for_bit"] != compared["sums"]:
        wrong = compared["sums"] - compared["equal_bit_for_bit"]
        told.append(
            f"{wrong} of {compared['sums']} sums differ from those made in the clear: trust none of this."
        )
    return told


def _of_exposure(folder: Folder) -> list[str]:
    study, told = folder.study, []
    across = (study or folder.metrics or folder.model).get("across_rounds")
    if across in ("accept", "freeze"):
        told.append(
            "No sum has noise: nothing bounds what the model, or any of the sums, says of a single patient."
        )
    if across == "accept":
        told.append(
            "Sites may miss rounds and come back: whoever holds two sums that differ by one site can work "
            "out, by subtraction, roughly what that site sent in them."
        )
    if float((study.get("training") or {}).get("sites_fraction") or 1.0) < 1.0:
        told.append(
            "Sites were drawn anew for each round: from many such sums single sites' parts can be solved for."
        )
    if (study.get("model") or {}).get("discloses_patients"):
        told.append(
            "The study allows an exact time grid: differences of neighbouring risk sets show the features of "
            "single patients."
        )
    if study.get("terms", {}).get("consistency") is False:
        told.append(
            "The sites trusted the coordinator to be honest: no check kept it from telling two stories."
        )
    if (privacy := folder.metrics.get("privacy")) and privacy["epsilon"] >= WIDE:
        told.append(f"Epsilon is {privacy['epsilon']:.3g}: a bound this wide says little by itself.")
    return told


def _of_audit(folder: Folder) -> list[str]:
    """What the attacks say, the gravest first, and whether they are of this study at all."""
    audit, told = folder.audit, []
    heading = folder.study or folder.metrics
    if audit and heading and audit.get("policy", heading.get("policy")) != heading.get("policy"):
        told.append("The audit in this folder is of another study, or of other terms: it says nothing here.")
    for row in audit.get("rows", []):
        of_study = row["target"] not in ("control", "null")
        if of_study and row["figures"].get("refuted"):
            told.append(
                f"An audit caught the noise ({row['attack']}): {row['result']}. Do not trust its epsilon."
            )
        if row["target"] == "secure sum" and row["figures"].get("opened"):
            told.append(
                f"The secure sums of risk sets show single patients' rows: {row['result']}. The time grid is "
                "too fine."
            )
        if row.get("expected") is False:
            told.append(
                f"{row['attack'][:1].upper()}{row['attack'][1:]}: its {row['target']} did not come out as it "
                "must, so that this attack shows nothing."
            )
    better = [
        row
        for row in audit.get("rows", [])
        if row["target"] in AFTER_SUMS and (row["figures"].get("auc") or {}).get("low", 0.0) > 0.5
    ]
    if better:
        row = max(better, key=lambda one: float(one["figures"]["auc"]["value"]))
        auc = row["figures"]["auc"]
        told.append(
            f"An attack ({row['attack']}) does better than a coin at telling who was in the training, by the "
            f"{row['target']}: AUC {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f}), where a coin "
            "has 0.5."
        )
    return told


def _of_ledgers(folder: Folder, past: Mapping[str, Any]) -> list[str]:
    return [
        f"The ledger of {name} no longer leads to the entry with which the run ended: entries were lost or "
        "changed since."
        for name, head in past["ledger_heads"].items()
        if name in folder.ledgers and head not in folder.ledgers[name]
    ]


def _of_sites(folder: Folder, past: Mapping[str, Any], own: bool) -> list[str]:
    told = [f"{said[:1].upper()}{said[1:]}." for said in folder.sites.get("warnings", [])]
    for name, site in folder.sites.get("sites", {}).items():
        if site["part_of_rounds"] >= OFTEN:
            told.append(
                f"{name} was left out of {site['left_out']} of {folder.sites['rounds']} rounds of training: "
                "the model knows too little of its patients."
            )
    if past["aborted"]:
        times = "One round was" if past["aborted"] == 1 else f"{past['aborted']} rounds were"
        told.append(
            f"{times} lost with too few sites, and asked for again; nothing of a lost round is revealed."
        )
    if own:
        told.append("This report holds one site's own figures, without noise. It is for that site alone.")
    return told


def summary(folder: Folder, past: Mapping[str, Any]) -> list[str]:
    """The study in a few sentences."""
    study, metrics, told = folder.study, folder.metrics, []
    sites = past["sites"]
    if study:
        model, training = study["model"]["type"], study["training"]
        told.append(
            f"{len(sites)} sites trained {MODELS.get(model, model)} together, which predicts "
            f"{target(study)} from {_count(len(study['features']), 'feature')}, by "
            f"{ALGORITHMS.get(training['algorithm'], training['algorithm'])}, "
            f"{_count(training['rounds'], 'round')} at most."
        )
    repeats = (
        f" over {_count(study['repeats'], 'split')} of the patients" if study.get("repeats", 1) > 1 else ""
    )
    told.append(
        f"Every number left its site inside a masked sum; {past['sums']} such sums were made{repeats}, in "
        f"{past['seconds']:,.0f} seconds."
    )
    secure = metrics.get("secure_sums", {})
    for key, title in METRICS.items():
        if (found := secure.get(f"test_{key}")) and found["mean"] is not None:
            between = (
                f" (95 % interval over the splits {found['low']:.3f} to {found['high']:.3f})"
                if "low" in found
                else ""
            )
            told.append(f"On patients held out from training its {title} is {found['mean']:.3f}{between}.")
    if privacy := metrics.get("privacy"):
        told.append(
            f"All sums together cost epsilon {privacy['epsilon']:.3g} at delta {privacy['delta']:g}, of "
            f"{privacy['epsilon_allowed']:g} allowed, for {UNITS[privacy['unit']]}."
        )
    return told


def target(study: Mapping[str, Any]) -> str:
    """What is predicted."""
    data = study["data"]
    if data["time"]:
        return f"the time {data['time']!r} until the event {data['event']!r}"
    if study["model"]["type"] in NUMBERS:
        return f"the number {data['target']!r}"
    negative, positive = data["classes"]
    return f"{data['target']!r} ({positive} against {negative})"


def policy(study: Mapping[str, Any]) -> list[str]:
    """The terms, a sentence each."""
    if not study:
        return []
    terms = study["terms"]
    rounds = {
        "freeze": "The first sum fixed who takes part: a round that one of them missed was asked for again.",
        "accept": "Sites may miss rounds and come back; everybody knows what differences of sums then show.",
        "noise": "Every sum carries noise, so that differences of sums are covered by epsilon.",
    }
    told = [
        f"A sum is made over {terms['min_cohort']} of {terms['sites']} sites or more, never over fewer.",
        f"The coordinator learns that sum only, even with {_count(terms['colluders'], 'site')} helping.",
        f"{terms['threshold']} sites have to agree on who survived a round before anything of it is opened."
        if terms["consistency"]
        else f"The coordinator alone says who survived; {terms['threshold']} sites rebuild what is lost.",
        f"A round tolerates {_count(terms['max_dropouts'], 'site')} that vanish.",
        rounds[terms["across_rounds"]],
        f"Numbers travel in {terms['bits']} bits; at most {_count(terms['rounds'], 'round')} may be asked.",
    ]
    if deadline := study["training"].get("deadline"):
        told.append(
            f"A site that works longer than {deadline:g} seconds on an answer is left out of that round."
        )
    if privacy := study.get("privacy"):
        told.append(
            f"The whole run may cost epsilon {privacy['epsilon']:g} at delta {privacy['delta']:g} for "
            f"{UNITS[privacy['unit']]}; each site's ledger refuses what would pass that."
        )
    if test := study.get("test"):
        told.append(
            f"No subgroup and no cell of a figure of fewer than {test['min_subgroup']} patients is told."
        )
    return told


def exposure(folder: Folder) -> list[dict[str, str]]:
    """Who can see what after this study."""
    study = folder.study
    terms, noised = study.get("terms", {}), study.get("across_rounds") == "noise"
    least, colluders = terms.get("min_cohort"), terms.get("colluders")
    over = f"at least {least} sites" if least else "several sites"
    bound = (
        "What all of it says of one unit is bounded by epsilon, whatever else they know."
        if noised
        else "Nothing bounds what it says of one patient; a model can remember patients."
    )
    told = [
        (
            "Every site, the coordinator, and whoever gets the model or this report",
            f"The sums, and the model that they make. {bound}",
        ),
        (
            "The coordinator",
            f"One sum a round over {over}; who dropped out; sizes, times. It could announce a wrong one.",
        ),
    ]
    if least and colluders is not None:
        told += [
            (
                f"The coordinator with up to {_count(colluders, 'site')}",
                f"One sum a round over at least {least - colluders} other sites.",
            ),
            (
                f"The coordinator with more than {_count(colluders, 'site')}",
                "Possibly what single sites sent.",
            ),
        ]
    if study.get("across_rounds") == "accept":
        told.append(
            (
                "Whoever holds the sums of two rounds that differ by one site",
                "By subtraction, roughly what that site sent.",
            )
        )
    told += [
        (
            "Whoever taps the network",
            "Sizes and times, and the sums unless TLS hides them. No quantum computer opens one site's part.",
        ),
        (
            "Whoever ran sordino run",
            "Every row: the run simulates all sites in one process, and keeps nothing from its operator.",
        ),
    ]
    return [{"who": who, "sees": sees} for who, sees in told]


def card(folder: Folder, past: Mapping[str, Any]) -> dict[str, list[str]]:
    """The model card (Mitchell et al. 2019) as far as a run knows it."""
    study, metrics = folder.study, folder.metrics
    if not study:
        return {}
    model, training, test = study["model"], study["training"], study["test"]
    algorithm = training["algorithm"]
    stated = ", ".join(
        f"{key} {_plain(value)}"
        for key, value in training.items()
        if value is not None and key != "algorithm"
    )
    held = "No patients were held out."
    if test:
        part = f"{100 * test['fraction']:g} % of the patients" if test.get("fraction") else "Named patients"
        held = f"{part} of each site were held out for the test, {_count(study['repeats'], 'split')}."
    results = metrics.get("secure_sums", {}).get("repeats", [])
    tests = [repeat["test"] for repeat in results if "test" in repeat]
    figures = [
        f"{key.replace('_', ' ')}: {_plain(value)}" for key, value in (tests[0] if tests else {}).items()
    ]
    return {
        "Intended use": [
            f"Research: to predict {target(study)} for patients like those of these sites.",
            "Not a medical device, nor for decisions about single patients: it is validated nowhere else.",
        ],
        "Data": [
            f"{_count(len(past['sites']), 'site')}, {_count(len(study['features']), 'feature')}.",
            "How many patients a site has is not known outside it.",
            "Missing values were put at the mean of those present."
            if study["data"]["missing"] == "mean"
            else "No value was missing.",
            held,
        ],
        "Training": [
            f"{MODELS.get(model['type'], model['type'])}, {ALGORITHMS.get(algorithm, algorithm)}: {stated}."
        ],
        "Metrics": figures or ["None: see the warnings."],
        "Limits": [
            "Figures are of held-out patients of the same sites, not of other hospitals.",
            "Whoever is rare at these sites is rare in the model; see the subgroups.",
            "That sites gave right numbers is not proved: one lying site can spoil a sum.",
        ],
    }


def question(kind: str) -> str:
    """What a sum is about."""
    if kind.startswith("scores_"):
        return "each modality's scores, which late fusion combines"
    return QUESTIONS.get(kind, kind)


def _count(many: int, what: str) -> str:
    return f"{many:,} {what}" + ("" if many == 1 else "s")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_plain, value))
    return f"{value:.4g}" if isinstance(value, float) else "not defined" if value is None else str(value)
