# SPDX-License-Identifier: Apache-2.0

"""Write the bill of materials of an installed wheel: `python tests/wheels/sbom.py WHEEL OUT`.

The wheel goes into an empty environment with what it requires; cyclonedx-py lists what came, with licences
and who needs whom; and what is compiled into the wheel is taken from the bill that it carries (PEP 770). The
result, CycloneDX in JSON, is checked against the schema. It has no random number, and its time is
SOURCE_DATE_EPOCH: for the same wheel and the same releases of its dependencies it is the same. Needs the
extra `wheel` beside this Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

NAME = "sordino"


def run(*command: str | Path) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def environment(wheel: Path, place: Path) -> dict[str, Any]:
    """The bill of an environment with nothing but the wheel and what it requires, not even pip."""
    run(sys.executable, "-m", "venv", "--without-pip", place)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", place)
    run(*pip, "install", wheel)
    options = ("--output-reproducible", "--spec-version", "1.6", "--output-format", "JSON")
    bill: dict[str, Any] = json.loads(
        run(sys.executable, "-m", "cyclonedx_py", "environment", *options, place)
    )
    return bill


def carried(wheel: Path) -> dict[str, Any]:
    """The bill that the wheel carries."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(f".dist-info/sboms/{NAME}.cdx.json"))
        bill: dict[str, Any] = json.loads(archive.read(name))
    return bill


def joined(whole: dict[str, Any], inside: dict[str, Any], wheel: Path) -> dict[str, Any]:
    """The bill of the environment, about the wheel, with what is compiled into that."""
    digest = {"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}
    (own,) = (component for component in whole["components"] if component["name"] == NAME)
    others = [component for component in whole["components"] if component is not own]
    about = inside["metadata"]["component"]
    needs = {edge["ref"]: set(edge.get("dependsOn", ())) for edge in whole["dependencies"]}
    for edge in inside["dependencies"]:
        who = own["bom-ref"] if edge["ref"] == about["bom-ref"] else edge["ref"]
        needs.setdefault(who, set()).update(edge.get("dependsOn", ()))
    time = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "315532800")), UTC)
    own = {
        key: value for key, value in own.items() if key != "externalReferences"
    }  # where the wheel lay here
    own |= {"purl": about["purl"], "supplier": about["supplier"], "hashes": [digest]}
    stated = {"timestamp": f"{time:%Y-%m-%dT%H:%M:%SZ}", "authors": inside["metadata"]["authors"]}
    return whole | {
        "metadata": whole["metadata"] | stated | {"component": own},
        "components": [*inside["components"], *others],
        "dependencies": [{"ref": who, "dependsOn": sorted(whom)} for who, whom in sorted(needs.items())],
    }


def check(bill: dict[str, Any]) -> str:
    """The bill as text. Raises `SystemExit` where it is not valid, or lacks what a wheel of ours has."""
    text = json.dumps(bill, indent=2, sort_keys=True) + "\n"
    if (fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        raise SystemExit(f"no valid CycloneDX: {fault}")
    names = {component["name"]: component for component in bill["components"]}
    if lacking := {"libsordino", "pybind11", "numpy", "cryptography"} - set(names):
        raise SystemExit(f"the bill lacks {sorted(lacking)}")
    if unversioned := sorted(name for name, component in names.items() if not component.get("version")):
        raise SystemExit(f"no version of {unversioned}")
    known = {component["bom-ref"] for component in [bill["metadata"]["component"], *bill["components"]]}
    for edge in bill["dependencies"]:
        if unknown := {edge["ref"], *edge.get("dependsOn", ())} - known:
            raise SystemExit(f"the bill speaks of {sorted(unknown)}, which it does not list")
    return text


def main(wheel: str, out: str) -> None:
    archive, target = Path(wheel).resolve(), Path(out)
    with tempfile.TemporaryDirectory() as folder:
        bill = joined(environment(archive, Path(folder) / "venv"), carried(archive), archive)
    text = check(bill)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    print(f"{target}: {len(bill['components'])} components")


if __name__ == "__main__":
    main(*sys.argv[1:])
