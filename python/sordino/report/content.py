# SPDX-License-Identifier: Apache-2.0

"""report.json: everything that the page shows, as data. docs/report.md is its schema."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sordino.report import words
from sordino.report.folder import Folder, read_folder
from sordino.report.history import history
from sordino.report.intervals import of_test

FORMAT, VERSION = "sordino-report", 1


def content(path: Path, site: str | None = None) -> dict[str, Any]:
    """The report of the run in `path`; with `site` the one for that site, its own figures included.

    The same folder gives the same report: nothing in it is of the moment at which it is made. Raises
    `ConfigError` if there is nothing to report.
    """
    folder = read_folder(path, site)
    study, metrics = folder.study, folder.metrics
    names = [entry["name"] for entry in study.get("sites", [])] or list(folder.sites.get("sites", {}))
    names = names or next((line["sites"] for line in folder.lines if "sites" in line), [])
    past = history(folder.lines, names, study.get("sums"))
    secure = metrics.get("secure_sums", {})
    repeats = secure.get("repeats", [])
    headline = next((key for key in words.METRICS if f"test_{key}" in secure), None)
    heading = next((found for found in (study, metrics, folder.model, *folder.lines) if "study" in found), {})
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"sordino {version('sordino')}",
        "study": heading.get("study", path.name),
        "for_site": site,
        "finished": past["finished"],
        "warnings": words.warnings(folder, past, site is not None),
        "missing": list(folder.missing),
        "summary": words.summary(folder, past),
        "exposure": words.exposure(folder),
        "policy": words.policy(study),
        "hashes": {
            **{key: heading.get(key) for key in ("policy", "schema", "roster")},
            "ledger_heads": past.pop("ledger_heads"),
        },
        "run_with": heading.get("sordino"),
        "agreed": dict(study),
        "history": past,
        "exclusion": {key: folder.sites.get(key, []) for key in ("exclusion", "warnings")},
        "training": [{key: part for key, part in repeat.items() if key not in PARTS} for repeat in repeats],
        "test": _test(repeats, headline, secure),
        "simulation": metrics.get("simulation"),
        "privacy": metrics.get("privacy"),
        "shared_performance": {
            name: [test and with_interval(test, headline) for test in tests]
            for name, tests in folder.sites.get("shared_performance", {}).items()
            if headline is not None
        },
        "own": dict(folder.own) or None,
        "audit": _audit(folder),
        "card": words.card(folder, past),
    }


PARTS = ("test", "figures", "subgroups")


def _test(
    repeats: list[dict[str, Any]], headline: str | None, secure: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What the held-out patients show; figures and subgroups are of the first split, that of the model."""
    if headline is None or "test" not in repeats[0]:
        return None
    first = repeats[0]
    return {
        "headline": headline,
        "title": words.METRICS[headline],
        "over_splits": secure[f"test_{headline}"],
        "splits": [with_interval(repeat["test"], headline) for repeat in repeats],
        "figures": first.get("figures", {}),
        "subgroups": [
            entry if "withheld" in entry else with_interval(entry, headline)
            for entry in first.get("subgroups", [])
        ],
    }


def with_interval(test: Mapping[str, Any], headline: str) -> dict[str, Any]:
    """The figures with the 95 % interval of the headline, None where the counts do not give one."""
    between = of_test(test, headline)
    return {**test, "interval": None if between is None else list(between)}


def _audit(folder: Folder) -> dict[str, Any] | None:
    if not folder.audit and not folder.pictures:
        return None
    return {
        **folder.audit,
        "pictures": {name: b64encode(picture).decode() for name, picture in folder.pictures.items()},
    }
