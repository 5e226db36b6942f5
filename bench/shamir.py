# SPDX-License-Identifier: Apache-2.0

"""How fast are secrets shared and rebuilt? 100 secrets of 32 bytes, 67 of 100, beside other libraries.

Beside ours, in the same run and in turn: pycryptodome's Shamir (sixteen bytes at a time, so two calls a
secret) and Flower's, which hands such parts, a third for padding, to pycryptodome on threads, where flwr is
installed. They share secret by secret, so their time is measured over a few secrets and scaled to 100
(`--full` shares all 100); ours shares all of them each time. Everyone's secrets are rebuilt and compared.
Time is the process's processor time; a figure is the median of the runs, in milliseconds for all 100 secrets,
a ratio the median of the ratios of neighbouring runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable
from time import process_time
from typing import TypeAlias

from Crypto.Protocol.SecretSharing import Shamir

from sordino import _core

try:
    from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
except ImportError:
    create_shares = combine_shares = None

SECRETS, THRESHOLD, HOLDERS = 100, 67, 100
BYTES = 32

Times: TypeAlias = tuple[float, float]
"""Seconds to share and to rebuild."""


def timed(share: Callable[[], list], rebuild: Callable[[list], bytes], secrets: bytes) -> Times:
    start = process_time()
    shares = share()
    middle = process_time()
    rebuilt = rebuild(shares)
    end = process_time()
    if rebuilt != secrets:
        raise SystemExit("the rebuilt secrets are not the shared ones")
    return middle - start, end - middle


def ours(count: int) -> Times:
    secrets, points = os.urandom(BYTES * count), range(1, HOLDERS + 1)
    return timed(
        lambda: [_core.shamir_split(secrets, points, threshold=THRESHOLD, seed=os.urandom(32))],
        lambda shares: bytes(_core.shamir_combine(points[:THRESHOLD], shares[0][:THRESHOLD])),
        secrets,
    )


def pycryptodome(count: int) -> Times:
    secrets = os.urandom(BYTES * count)
    halves = [secrets[at : at + 16] for at in range(0, len(secrets), 16)]
    return timed(
        lambda: [Shamir.split(THRESHOLD, HOLDERS, half) for half in halves],
        lambda shares: b"".join(Shamir.combine(each[:THRESHOLD]) for each in shares),
        secrets,
    )


def flower(count: int) -> Times:
    secrets = os.urandom(BYTES * count)
    parts = [secrets[at : at + BYTES] for at in range(0, len(secrets), BYTES)]
    return timed(
        lambda: [create_shares(part, THRESHOLD, HOLDERS) for part in parts],
        lambda shares: b"".join(combine_shares(each[:THRESHOLD]) for each in shares),
        secrets,
    )


def measure(repeats: int, peers_secrets: int) -> dict[str, float | None]:
    peers = {"pycryptodome": pycryptodome} | ({"flower": flower} if create_shares else {})
    ours(SECRETS)
    seen: dict[str, list[Times]] = {"ours": [], **{name: [] for name in peers}}
    for _ in range(repeats):
        for name, peer in peers.items():
            share, rebuild = peer(peers_secrets)
            seen[name].append((share * SECRETS / peers_secrets, rebuild * SECRETS / peers_secrets))
        runs = [ours(SECRETS) for _ in range(9)]  # a run is short: the median of nine stands for the turn
        seen["ours"].append(
            (statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs))
        )
    found: dict[str, float | None] = {}
    for name in ("ours", "pycryptodome", "flower"):
        for place, what in enumerate(("split", "combine")):
            times = [each[place] for each in seen.get(name, [])]
            found[f"{name}_{what}_ms"] = 1000 * statistics.median(times) if times else None
    for name in ("pycryptodome", "flower"):
        for place, what in enumerate(("split", "combine")):
            pairs = zip(seen.get(name, []), seen["ours"], strict=False)
            ratios = [theirs[place] / mine[place] for theirs, mine in pairs]
            found[f"ratio_{name}_{what}"] = statistics.median(ratios) if ratios else None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=3, help="turns")
    parser.add_argument("--full", action="store_true", help="have the peers share all secrets (minutes)")
    options = parser.parse_args()
    peers_secrets = SECRETS if options.full else 2
    found = measure(options.repeats, peers_secrets)
    about = {"secrets": SECRETS, "threshold": THRESHOLD, "holders": HOLDERS, "peers_secrets": peers_secrets}
    if options.json:
        print(json.dumps(about | found))
        return
    print(
        f"{SECRETS} secrets of {BYTES} bytes, {THRESHOLD} of {HOLDERS}, medians; peers over {peers_secrets}"
    )
    for name, value in found.items():
        print(f"  {name:28}" + ("absent" if value is None else f"{value:14.3f}"))


if __name__ == "__main__":
    main()
