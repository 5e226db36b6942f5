# SPDX-License-Identifier: Apache-2.0

"""Write the nine sites of examples/nsclc-captk.toml from two public tables of lung cancer.

    python examples/nsclc_captk.py --data nsclc-captk --out nsclc-sites

206 patients of two sources, told by the first letters of their ids, with 102 features of their CT and a
clinical table (TCIA NSCLC-Radiogenomics, CC BY; features by CaPTk as opnested-combat has them, MIT). The
tables are not part of sordino.

The rule. In the order of their ids AMC's 47 patients are cut into two sites and R01's 159 into seven, of
equal size but for one. Then one block of columns is taken from every site: imaging from the first of the
nine and from every third one after it, clinical data from the second and so on, genes from the third. So
every site lacks something, each block is at six sites, and any two blocks are together at three: the least
that min_cohort = 3 allows, since whoever lacks a block shows by the difference of two sums.

Missing cells stay empty: R01's stage and age are known for most, AMC's for none.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

SHARED = Path(os.environ.get("SORDINO_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))

CUTS = {"AMC": 2, "R01": 7}
"""Sites of each source."""
BLOCKS = ("imaging", "clinical", "genomic")
CLINICAL = {
    "age": "age",
    "male": "sex",
    "smoking-1": "smoking",
    "smoking-2": "smoking",
    "histology-2": "histology",
    "histology-3": "histology",
    "t-stage": "path-t-stage",
    "n-stage": "path-n-stage",
    "m-stage": "path-m-stage",
}
"""New names of columns; one that ends in a digit tells whether the old one has that code."""
GENES = {"egfr": "egfr-mut", "kras": "kras-mut", "alk": "alk"}
"""ALK is translocated in one patient."""


def main() -> None:
    """Read the two tables and write a file for each site."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "nsclc-captk", help="folder of the two tables")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sites' files")
    given = parser.parse_args()
    for path in write_sites(given.data, given.out):
        print(path)


def write_sites(data: Path, out: Path) -> list[Path]:
    """Write the sites' files to `out` and return their paths."""
    imaging, clinical = _table(data / "features.csv"), _table(data / "clinical.csv")
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for source, number in CUTS.items():
        ids = sorted(one for one in imaging if one.startswith(source))
        for place in range(number):
            members = ids[place * len(ids) // number : (place + 1) * len(ids) // number]
            lacked = BLOCKS[len(written) % len(BLOCKS)]
            rows = [_patient(one, imaging[one], clinical[one], lacked) for one in members]
            written.append(out / f"{source.lower()}-{place + 1}.csv")
            with written[-1].open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)
    return written


def _table(path: Path) -> dict[str, dict[str, str]]:
    """Rows by the id in the first column."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {next(iter(row.values())): row for row in csv.DictReader(file)}


def _patient(one: str, imaging: dict[str, str], clinical: dict[str, str], lacked: str) -> dict[str, str]:
    """One patient's row without the block that the site lacks."""
    blocks = {
        "imaging": {name: _number(cell) for name, cell in list(imaging.items())[1:]},
        "clinical": {name: _coded(name, clinical[column]) for name, column in CLINICAL.items()},
        "genomic": {
            name: "1" if clinical[column] == "Translocated" else _number(clinical[column])
            for name, column in GENES.items()
        },
    }
    kept = [block for name, block in blocks.items() if name != lacked]
    return {
        "id": one,
        **{name: cell for block in kept for name, cell in block.items()},
        "death": clinical["event"],
    }


def _coded(name: str, cell: str) -> str:
    code = name.rpartition("-")[2]
    return str(int(cell == code)) if code.isdigit() and _number(cell) else _number(cell)


def _number(cell: str) -> str:
    """The cell if it is a number, else nothing: 'nan', or the '#NAME?' of a spreadsheet."""
    try:
        return "" if float(cell) != float(cell) else cell
    except ValueError:
        return ""


if __name__ == "__main__":
    main()
