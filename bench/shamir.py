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

import os
import statistics
from collections.abc import Callable
from time import process_time
from typing import TypeAlias

from Crypto.Protocol.SecretSharing import Shamir
from harness import Figures, main, print_figures, ratio

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


def measure(repeats: int, full: bool) -> Figures:
    peers = {"pycryptodome": pycryptodome} | ({"flower": flower} if create_shares else {})
    peers_secrets = SECRETS if full else 2
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
    found: Figures = {
        "secrets": SECRETS,
        "threshold": THRESHOLD,
        "holders": HOLDERS,
        "peers_secrets": peers_secrets,
    }
    for place, what in enumerate(("split", "combine")):
        mine = [each[place] for each in seen["ours"]]
        found[f"ours_{what}_ms"] = 1000 * statistics.median(mine)
        for name in ("pycryptodome", "flower"):
            theirs = [each[place] for each in seen.get(name, [])]
            found[f"{name}_{what}_ms"] = 1000 * statistics.median(theirs) if theirs else None
            found[f"ratio_{name}_{what}"] = ratio(theirs, mine)
    return found


def tell(found: Figures) -> None:
    print_figures(f"{SECRETS} secrets of {BYTES} bytes, {THRESHOLD} of {HOLDERS}, medians", found)


if __name__ == "__main__":
    main(
        __doc__,
        measure,
        tell,
        repeats=(3, "turns"),
        full=(False, "have the peers share all secrets (minutes)"),
    )
