# SPDX-License-Identifier: Apache-2.0

"""A study to show: scikit-learn's breast-cancer patients as they might be spread over seven hospitals.

569 real patients with 30 features that were computed from images of cell nuclei (Street, Wolberg and
Mangasarian 1993; Wisconsin Diagnostic Breast Cancer).

How they are split, so that the hospitals differ in size and case mix: all patients are put in order of the
mean radius of their nuclei in standard deviations, plus a normal draw of the same spread; the order is then
cut into hospitals of 130, 110, 95, 80, 65, 50 and 39 patients. The first sees mostly small, benign findings
and the last is where large ones are sent: from one patient in ten to nineteen in twenty are malignant.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

SIZES = {"alder": 130, "birch": 110, "cedar": 95, "elm": 80, "hazel": 65, "linden": 50, "oak": 39}

_STUDY = """\
# Seven hospitals, {patients} patients. Run again: sordino run {study} --out DIR
name = "demo"

[data]
id = "patient"
target = "diagnosis"
classes = ["benign", "malignant"]

{sites}
[model]
type = "logistic"
l2 = 0.02

[training]
algorithm = "fedavg"
{training}

[test]
fraction = 0.25
draw = "patient"
seed = 0

[policy]
{across}max_patients = 1000
{privacy}
# A hospital vanishes before its upload, and is back in the next round.
[[dropouts]]
round = 6
site = "cedar"
step = "upload"

# A hospital vanishes after its upload: the sum still holds it, and the others rebuild what it had to send.
[[dropouts]]
round = 12
site = "oak"
step = "unmask"

# Two at once: one before its upload, one after it.
[[dropouts]]
round = 18
site = "birch"
step = "upload"

[[dropouts]]
round = 18
site = "linden"
step = "confirm"

[simulation]
compare_pooled = true
{compare}"""

_WITHOUT_NOISE = {
    "training": "rounds = 30\nlocal_steps = 2",
    "across": 'across_rounds = "accept"\n',
    "privacy": "",
    "compare": "compare_plain = true\n",
}
_WITH_NOISE = {
    "training": "rounds = 20\nlearning_rate = 0.5",
    "across": "",
    "privacy": """
# Noise in every sum: what any of them, and all together, say about one patient is bounded.
[privacy]
unit = "patient"
epsilon = 6.0
delta = 1e-5
clip = 1.0
""",
    "compare": "",
}


def write_demonstration(folder: Path) -> tuple[Path, Path]:
    """Write a CSV file for each hospital and two study files to `folder`: without noise, and with.

    Returns the paths of the latter.
    """
    from sklearn.datasets import load_breast_cancer

    patients = load_breast_cancer()
    names = [str(name) for name in patients.feature_names]
    radius = patients.data[:, names.index("mean radius")]
    drawn = np.random.default_rng(7).normal(size=len(radius))
    order = np.argsort((radius - radius.mean()) / radius.std() + drawn)
    start = 0
    for hospital, size in SIZES.items():
        with (folder / f"{hospital}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["patient", *names, "diagnosis"])
            for row in np.sort(order[start : start + size]):
                label = patients.target_names[patients.target[row]]
                writer.writerow([f"P{row:03d}", *patients.data[row].tolist(), label])
        start += size
    sites = "".join(f'[[sites]]\nname = "{name}"\npath = "{name}.csv"\n\n' for name in SIZES)
    studies = folder / "study.toml", folder / "private.toml"
    for study, parts in zip(studies, (_WITHOUT_NOISE, _WITH_NOISE), strict=True):
        text = _STUDY.format(patients=start, study=study.name, sites=sites, **parts)
        study.write_text(text, encoding="utf-8")
    return studies
