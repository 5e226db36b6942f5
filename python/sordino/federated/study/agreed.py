# SPDX-License-Identifier: Apache-2.0

"""What a study's sites agreed to before the first sum: its terms, as study.json has them for every reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sordino.federated.study.prepared import Prepared
from sordino.protocol.policy import Question

PRIVATE = {"path", "ids"}
"""Keys of the study file that name files of the sites, or patients: not for every reader."""


def agreed(prepared: Prepared, roster: str) -> dict[str, Any]:
    """The terms of a study in JSON's own types; `roster` is the hash of the pinned roster.

    Nothing in it is from a row: neither numbers of patients nor a value.
    """
    study, policy = prepared.study, prepared.policy
    tables = msgspec.to_builtins(study)
    test = tables["test"]
    if test is not None:
        test |= {"bins": study.bins, "draw": study.draw}
    return {
        "roster": roster,
        "sites": [{"name": site["name"], "attributes": site["attributes"]} for site in tables["sites"]],
        "features": list(prepared.cohort.schema.features),
        "data": _public(tables["data"]),
        "test": None if test is None else _public(test),
        **{
            key: tables[key]
            for key in ("model", "training", "privacy", "modalities", "fusion", "harmonise", "subgroups")
        },
        "terms": {
            name: getattr(policy, name)
            for name in policy.__struct_fields__
            if name not in ("study", "plan", "schema")
        },
        "questions": [_question(question) for question in policy.plan],
        "sums": len(prepared.training.turns()) * study.repeats,
        "repeats": study.repeats,
    }


def _question(question: Question) -> dict[str, Any]:
    noise = question.noise
    return {
        "kind": question.kind,
        "lanes": question.lanes,
        "noise": None if noise is None else noise.unit,
        "groups": list(question.groups),
    }


def _public(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in PRIVATE}
