# SPDX-License-Identifier: Apache-2.0

"""Runs whose reports are looked at: one site's columns serve every kind of target."""

from __future__ import annotations

import json

from hospitals import NAMES, hospitals, write_csv, write_study
from sordino.federated.study.prepared import prepare
from sordino.federated.study.run import run_study

SCRIPT = "<script>alert(1)</script>"
PRIVACY = '[privacy]\nunit = "patient"\nepsilon = 60\ndelta = 1e-5\n'
SUBGROUPS = '[[subgroups]]\ncolumn = "sex"\nlevels = ["f", "m"]\n'
EXTRA = '[[dropouts]]\nround = 2\nsite = "north"\n[[dropouts]]\nround = 3\nsite = "south"\nstep = "unmask"\n'


def run(folder, predicts='target = "target"', **tables):
    """A run of `write_study`, with the columns of every kind of target; its folder."""
    study = write_study(folder, **tables)
    for name, site in hospitals(NAMES).items():
        rows = [
            [
                f"{name}{at}",
                *row,
                int(target),
                2 * row[0] + at % 3,
                1 + (at * 7) % 40 + 9 * target,
                at % 3 % 2,
                "fm"[at % 2],
            ]
            for at, (row, target) in enumerate(zip(site.features.tolist(), site.target, strict=True))
        ]
        features = [SCRIPT, *site.columns[1:]]
        write_csv(folder / f"{name}.csv", ["id", *features, "target", "size", "time", "event", "sex"], rows)
    features = json.dumps([SCRIPT, *next(iter(hospitals(NAMES).values())).columns[1:]])
    text = study.read_text().replace("[data]\n", f"[data]\nfeatures = {features}\n")
    study.write_text(text.replace('target = "target"', predicts))
    out = folder / "out"
    run_study(prepare(study), out)
    return out
