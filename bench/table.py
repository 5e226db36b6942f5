# SPDX-License-Identifier: Apache-2.0

"""Write the figures of bench/seen into the tables of bench/README.md and docs/comparison.md.

`make bench-table` runs every bench with --json, keeps what each prints in bench/seen, and ends with this. A
table stands between two comments that name it; no figure in it is typed by hand. With --check nothing is
written, and the exit code says whether the tables are those of the figures.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SEEN = Path(__file__).parent / "seen"
POWERS = {10**power: f"10^{power}" for power in range(4, 10)}

Figures = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What is measured, ours and a peer's figure for it, how they compare, and what was wanted of that."""

    what: str
    ours: str
    peer: str = ""
    theirs: str = ""
    compared: str = ""
    wanted: str = ""


def short(value: float | None, unit: str = "") -> str:
    """Three digits that count, with thousands apart."""
    if value is None:
        return "none"
    digits = f"{value:.3g}"
    if "e" in digits:
        digits = f"{float(digits):,.0f}" if abs(value) >= 1 else digits
    elif abs(value) >= 1_000:
        digits = f"{float(digits):,.0f}"
    return f"{digits} {unit}".strip()


def times(ratio: float) -> str:
    return f"{short(float(f'{ratio:.2g}') if ratio >= 10 else ratio)} times"


def faster(ratio: float | None, wanted: float | None = None) -> dict[str, str]:
    """Their time over ours."""
    if ratio is None:
        return {"compared": "not here"}
    return {"compared": f"{times(ratio)} as fast", "wanted": bound(ratio, wanted, least=True)}


def costs(ratio: float, wanted: float | None = None) -> dict[str, str]:
    """Ours over theirs: time, noise or bytes."""
    return {"compared": f"{times(ratio)} as much", "wanted": bound(ratio, wanted, least=False)}


def bound(ratio: float, wanted: float | None, *, least: bool) -> str:
    if wanted is None:
        return ""
    said = f"at {'least' if least else 'most'} {short(wanted)}"
    reached = ratio >= wanted if least else ratio <= wanted
    return said if reached else f"{said}: **not reached**"


# The benches ----------------------------------------------------------------------------------------------


def masking(found: Figures) -> Iterator[Row]:
    for count in (10**6, 10**7):
        row = found[str(count)]
        what = f"16 masks made and added, {POWERS[count]} lanes, one thread"
        ours = short(row["ours_gelem_s"], "Gelem/s")

        def beside(peer: str, key: str, wanted: float) -> Row:
            theirs = short(row[f"{key}_gelem_s"], "Gelem/s")  # noqa: B023
            return Row(what, ours, peer, theirs, **faster(row[f"ratio_{key}"], wanted))  # noqa: B023

        yield beside("AES-256 in registers: the ceiling", "ceiling", 0.9)
        yield beside("OpenSSL {cryptography}, NumPy", "openssl_numpy", 3)
        yield beside("Flower {flwr}", "flower", 12)
    if ckks := found["ckks"]:
        theirs = sum(ckks[f"{step}_ns_lane"] for step in ("encrypt", "add", "decrypt"))
        yield Row(
            "a lane of one sum, all masks, 10^6 lanes",
            short(ckks["ours_ns_lane"], "ns"),
            "TenSEAL {tenseal}: encrypt, add, decrypt",
            short(theirs, "ns"),
            **faster(ckks["ratio_ours"]),
        )


def noise(found: Figures) -> Iterator[Row]:
    for sigmas in (("0.5", "1", "4", "8", "16"), ("100", "1000", "100000", "1e+09")):
        rows = [found["sigma"][sigma] for sigma in sigmas]

        def span(key: str) -> str:
            values = [row[key] for row in rows if row[key] is not None]  # noqa: B023
            return f"{short(min(values))} to {short(max(values))} M/s"

        ends = f"sigma {float(sigmas[0]):g} to {float(sigmas[-1]):g}"
        what = f"exact discrete Gaussian samples, {ends}, one thread"
        for peer, key, column in (
            ("OpenDP {opendp}, exact too", "opendp", "opendp_msample_s"),
            ("NumPy's normal floats, not exact", "numpy_normal", "numpy_normal_msample_s"),
        ):
            least = min(row[f"ratio_{key}"] for row in rows)
            yield Row(what, span("ours_msample_s"), peer, span(column), **faster(least))


def shamir(found: Figures) -> Iterator[Row]:
    for step, does in (("split", "shared among 100"), ("combine", "rebuilt from 67")):
        for key, peer, wanted in (
            ("pycryptodome", "pycryptodome {pycryptodome}", 1_000),
            ("flower", "Flower {flwr}", None),
        ):
            yield Row(
                f"100 secrets of 32 bytes {does}",
                short(found[f"ours_{step}_ms"], "ms"),
                peer,
                short(found[f"{key}_{step}_ms"], "ms"),
                **faster(found[f"ratio_{key}_{step}"], wanted),
            )


def whole_round(found: Figures) -> Iterator[Row]:
    upload = f"a site's upload, 10^6 float32, 16 neighbours, {found['threads']} threads"
    for suffix, clock, wanted in (("", "by the clock", 20), ("_processor", "processor time", None)):
        yield Row(
            f"{upload}, {clock}",
            short(1e3 * found[f"site{suffix}_seconds"], "ms"),
            "Flower {flwr}: its client",
            short(1e3 * found[f"flower{suffix}_seconds"], "ms"),
            **faster(found[f"ratio_flower{suffix}"], wanted),
        )
    size, limit = found["upload_bytes"], found["upload_limit_bytes"]
    yield Row(
        f"its bytes, {found['bits']} bits a lane",
        short(size / 1e6, "MB"),
        "the lanes alone",
        short(found["bits"] / 8, "MB"),
        wanted=f"at most {limit / 1e6:.4g} MB" + ("" if size <= limit else ": **not reached**"),
    )
    for lost, row in found["coordinator"].items():
        yield Row(
            f"the coordinator's sum, 100 sites x 10^6, {lost} lost; beside it the checks of all uploads, "
            f"{short(row['checking_seconds'], 's')}",
            short(row["sum_seconds"], "s"),
            "AES-256 in registers for its lanes",
            short(row["ceiling_seconds"], "s"),
            **costs(row["ratio_sum"], 1.3),
        )
    row = found["simulation"]
    yield Row(
        "a whole round of 100 sites x 10^6 in one process",
        short(row["seconds"], "s"),
        "AES-256 in registers for all lanes",
        short(row["ceiling_seconds"], "s"),
        **costs(row["ratio"], 2),
    )


def codec(found: Figures) -> Iterator[Row]:
    for count in (10**6, 10**7):
        rows = [row for name, row in found.items() if name.startswith("encode_pack") and f" {count} " in name]
        what = f"values encoded and packed, {POWERS[count]}, the least of float32 and float64, 32 and 27 bits"
        ours = [row["ours_gb_s"] for row in rows]
        for peer, key, wanted in (
            ("`a += b` by the byte, the values' two readings counted", "ratio_ceiling", 0.6),
            ("the same, each value counted once", "ratio_ceiling_once", None),
            ("NumPy {numpy} doing the same", "ratio_numpy", 8),
        ):
            least = min(row[key] for row in rows)
            yield Row(what, f"{short(min(ours))} to {short(max(ours))} GB/s", peer, **faster(least, wanted))
    for name, row in found.items():
        if name.startswith("clip_accumulate"):
            yield Row(
                f"rows clipped and summed, float32, {name.split()[-1].replace('x', ' x ')}",
                short(row["nearest_gelem_s"], "Gelem/s"),
                "NumPy {numpy} doing the same",
                **faster(row["ratio_numpy"]),
            )
    rows = [row for name, row in found.items() if name.startswith("unpack_add")]
    yield Row(
        "uploads unpacked and added, the least of four",
        f"{short(min(row['ours_gb_s'] for row in rows))} GB/s",
        "`a += b` by the byte",
        **faster(min(row["ratio_ceiling"] for row in rows)),
    )


def scaling(found: Figures) -> Iterator[Row]:
    least, most = found["lanes"][0], found["lanes"][-1]
    exponents = found["exponents"]
    ratios = [row["numpy_openssl"] / row["ours"] for row in found["lanes"] if "numpy_openssl" in row]
    yield Row(
        f"a vector with 16 neighbours, {POWERS[least['lanes']]} to {POWERS[most['lanes']]} lanes; grows by "
        f"the power {short(exponents['lanes'])}",
        " to ".join(short(1e9 * row["ours"] / row["lanes"]) for row in (least, most)) + " ns a lane",
        "NumPy, OpenSSL {cryptography}, to 10^7: the least",
        **faster(min(ratios)),
    )
    for graph in ("complete", "sparse"):
        row = [row for row in found["sites"] if row["graph"] == graph][-1]
        yield Row(
            f"{row['sites']:,} sites on the {graph} graph, 1,000 lanes: set-up and a round of all; grow by "
            f"the powers {short(exponents[f'{graph}_set_up'])} and {short(exponents[f'{graph}_round'])}",
            f"{short(row['set_up_s'])} and {short(row['round_s'])} s of processor time",
        )
    study = found["study"]
    yield Row(
        f"{study['sites']:,} sites x {study['lanes']:,} lanes, sparse: {study['neighbours']} neighbours, "
        f"t = {study['threshold']}, {study['colluders']} may collude, {study['dropped']} dropped out, "
        f"{study['vanished']} rebuilt: set-up and a round",
        f"{short(study['set_up_s'])} and {short(study['round_s'])} s of processor time, "
        f"{short(study['peak_mb'] / 1e3)} GB",
        wanted="runs" if study["sites"] >= 1_000 else "",
    )
    one, *more = found["threads"]
    for row in more:
        if row["threads"] <= found["cores"]:
            yield Row(
                f"10^7 lanes masked by {row['threads']} threads",
                short(1e3 * row["ours"], "ms"),
                "one thread",
                short(1e3 * one["ours"], "ms"),
                **faster(one["ours"] / row["ours"]),
            )


def ckks(found: Figures) -> Iterator[Row]:
    rows = found["nanoseconds_and_bytes_a_parameter"]
    for key, what in (
        ("upload", "an upload under CKKS, exact sums"),
        ("add", "adding it"),
        ("open", "opening the sum"),
        ("bytes", "its bytes"),
    ):
        unit = "bytes" if key == "bytes" else "ns"
        yield Row(
            f"{what}, a parameter of 10^6",
            short(rows["ckks"][key], unit),
            "NVFlare's parameters, TenSEAL {tenseal}",
            short(rows["nvflare"][key], unit),
            **costs(found["ckks_over_nvflare"][key]),
        )
    masked, theirs = (
        sum(rows[name][key] for key in ("upload", "add", "open")) for name in ("masked", "nvflare")
    )
    yield Row(
        "the same three steps by masks, 5 neighbours, a parameter",
        f"{short(masked, 'ns')}, {short(rows['masked']['bytes'], 'bytes')}",
        "NVFlare's parameters, TenSEAL {tenseal}",
        f"{short(theirs, 'ns')}, {short(rows['nvflare']['bytes'], 'bytes')}",
        **faster(theirs / masked),
    )


def lom(found: Figures) -> Iterator[Row]:
    rows = found["nanoseconds_a_parameter"]
    for way, step, what, peer in (
        ("lom", "upload", "a site's upload, 5 neighbours", "Fed-BioMed {fedbiomed}: LOM"),
        ("lom", "sum", "the sum of six", "Fed-BioMed {fedbiomed}: LOM"),
        ("joye_libert", "upload", "a site's upload", "Fed-BioMed {fedbiomed}: Joye-Libert"),
    ):
        yield Row(
            f"{what}, a parameter",
            short(rows["masked"][step], "ns"),
            peer,
            short(rows[way][step] if way in rows else None, "ns"),
            **faster(found[f"ratio_{way}_{step}"]),
        )


def choosing(found: Figures) -> Iterator[Row]:
    plain = found["ways"]["plain"]
    for name, row in found["ways"].items():
        if name != "plain":
            yield Row(
                f"a round of six sites x 10^6 float32, {name}: {row['exchanges']} exchanges, "
                f"at most {short(row['sent'] / 1e6)} MB a site",
                short(row["processor"], "s of processor time"),
                "plain sums",
                short(plain["processor"], "s"),
                **costs(row["processor"] / plain["processor"]),
            )


def flower(found: Figures) -> Iterator[Row]:
    for name, what in (("malicious", "malicious"), ("semi_honest", "semi-honest")):
        row = found[name]
        for peer, key in (
            ("Flower {flwr}: FedAvg alone", "fedavg"),
            ("Flower {flwr}: SecAgg+", "secaggplus"),
        ):
            their = found[key]
            yield Row(
                f"a Flower round, six sites x 10^5 float32, {what}: {row['exchanges']:.0f} exchanges, "
                f"{short(row['relayed_bytes'] / 1e6)} MB",
                short(row["processor_seconds"], "s of processor time"),
                f"{peer}: {their['exchanges']:.0f}, {short(their['relayed_bytes'] / 1e6)} MB",
                short(their["processor_seconds"], "s"),
                **costs(row["processor_seconds"] / their["processor_seconds"]),
            )


def federated(found: Figures) -> Iterator[Row]:
    for key, data in (
        ("breast_cancer_by_size", "breast cancer, six sites by size"),
        ("breast_cancer_by_label", "the same, by label too"),
        ("keek2020", "keek2020, four hospitals"),
    ):
        if (rows := found[key]) is None:
            continue

        def rounds(name: str) -> str:
            row = rows[name]
            return f"off by {row['off']:.2g}" if row["rounds"] is None else f"{row['rounds']}"

        yield Row(
            f"rounds until within 0.1 % of the pooled optimum, 10 local steps, {data}: SCAFFOLD, FedAvg, "
            "FedProx",
            ", ".join(rounds(name) for name in ("scaffold", "fedavg", "fedprox_mu_0.1")),
            "one step a round: pooled gradient descent",
            rounds("fedavg_1_step"),
        )
    for key, what in (("one_epoch", "one local epoch"), ("five_epochs", "five local epochs")):
        row = found["overhead"][key]
        for ratio, clock in (("ratio", "by the clock"), ("ratio_processor", "processor time")):
            yield Row(
                f"a round of ten sites with 300 patients, 10^5 parameters, {what}, masked, {clock}",
                short(1e3 * row["masked_seconds"], "ms") if ratio == "ratio" else "",
                "plain sums",
                short(1e3 * row["plain_seconds"], "ms") if ratio == "ratio" else "",
                **costs(row[ratio], 1.3),
            )


def accounting(found: Figures) -> Iterator[Row]:
    cases = found["cases"].values()
    for key, what in (("epsilon", "an epsilon"), ("calibration", "a calibration of noise")):
        ours, theirs = ([case[key][name] for case in cases] for name in ("ours_ms", "dp_accounting_ms"))
        yield Row(
            f"{what}, the least of four cases, never a looser one",
            f"{short(min(ours))} to {short(max(ours))} ms",
            "dp-accounting {dp-accounting}",
            f"{short(min(theirs))} to {short(max(theirs))} ms",
            **faster(found[f"ratio_{key}"]),
        )
    yield Row(
        f"an epsilon after each of {found['history']['rounds']:,} rounds", short(found["history"]["ms"], "ms")
    )


BENCHES: dict[str, Callable[[Figures], Iterator[Row]]] = {
    "masking": masking,
    "noise": noise,
    "shamir": shamir,
    "codec": codec,
    "round": whole_round,
    "scaling": scaling,
    "ckks": ckks,
    "lom": lom,
    "choosing": choosing,
    "flower": flower,
    "federated": federated,
    "accounting": accounting,
}


# Telling --------------------------------------------------------------------------------------------------


def versioned(text: str, versions: dict[str, str]) -> str:
    """Fill in the versions that a bench ran with."""
    return re.sub(r"\{([\w-]+)\}", lambda match: versions.get(match[1], ""), text).replace(" ,", ",")


def lines_of(rows: list[list[str]]) -> list[str]:
    head, *body = ["| " + " | ".join(cell or " " for cell in row) + " |" for row in rows]
    return [head, "|" + " --- |" * len(rows[0]), *body]


def rows_of(seen: dict[str, Figures], name: str) -> list[Row]:
    """The rows of a bench, with the versions that it ran with."""
    if name not in seen:
        return []
    versions = seen[name]["run"]["versions"]
    return [replace(row, peer=versioned(row.peer, versions)) for row in BENCHES[name](seen[name])]


def figures_table(seen: dict[str, Figures]) -> list[str]:
    rows = [["bench", "what is measured", "ours", "beside", "theirs", "ours is", "wanted"]]
    for name in BENCHES:
        for place, row in enumerate(rows_of(seen, name)):
            rows.append(["" if place else f"[{name}]({name}.py)", *astuple(row)])
    return lines_of(rows)


def peers_table(seen: dict[str, Figures]) -> list[str]:
    """Those rows that have an engine or a library beside ours, without what was wanted."""
    peers = ("Flower", "NVFlare", "Fed-BioMed", "OpenSSL", "OpenDP", "dp-accounting", "pycryptodome")
    rows = [["bench", "what is measured", "ours", "beside", "theirs", "ours is"]]
    for name in BENCHES:
        rows += [[name, *astuple(row)[:-1]] for row in rows_of(seen, name) if row.peer.startswith(peers)]
    return lines_of(rows)


def runs_table(seen: dict[str, Figures]) -> list[str]:
    rows = [["bench", "command", "day", "load before", "machine", "Python", "NumPy", "sordino"]]
    for name in BENCHES:
        if name in seen:
            run = seen[name]["run"]
            options = " ".join(word for word in run["command"].split()[1:] if word != "--json")
            command = f"make bench-table ONLY={name}" + (f' OPTIONS="{options}"' if options else "")
            machine = f"{run['processor']}, {run['cores']} cores, {run['backend']}"
            versions = [run["versions"][package] for package in ("python", "numpy", "sordino")]
            rows.append([name, f"`{command}`", run["day"], str(run["load"]), machine, *versions])
    return lines_of(rows)


TABLES: dict[str, tuple[Path, Callable[[dict[str, Figures]], list[str]]]] = {
    "figures": (ROOT / "bench" / "README.md", figures_table),
    "runs": (ROOT / "bench" / "README.md", runs_table),
    "peers": (ROOT / "docs" / "comparison.md", peers_table),
}


def filled(text: str, name: str, lines: list[str]) -> str:
    """`text` with the table between the comments that name it."""
    begin, end = f"<!-- table {name}: written by bench/table.py -->", f"<!-- end of table {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"there is no place for table {name}: put '{begin}' and '{end}' there")
    return "\n".join([before + begin, "", *lines, "", end + after])


def main() -> int:
    seen = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(SEEN.glob("*.json"))}
    old = {path: path.read_text(encoding="utf-8") for path, _ in TABLES.values()}
    new = dict(old)
    for name, (path, table) in TABLES.items():
        new[path] = filled(new[path], name, table(seen))
    changed = [path for path in new if new[path] != old[path]]
    for path in changed:
        if "--check" in sys.argv[1:]:
            print(f"{path.relative_to(ROOT)} is not what bench/seen says: run `make bench-table ONLY=none`")
        else:
            path.write_text(new[path], encoding="utf-8")
    return 1 if changed and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
