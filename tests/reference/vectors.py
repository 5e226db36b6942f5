# SPDX-License-Identifier: Apache-2.0

"""Make the known answers in tests/vectors from the references: `python tests/reference/vectors.py`.

A test makes them again and compares, so a stored vector and the reference cannot drift apart.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from reference import aes256, bit_packing, discrete_gaussian, fixed_point, masks, shamir  # noqa: E402

Case = dict[str, Any]


def _bytes(label: str, length: int) -> bytes:
    """Stand-ins for random bytes that a reader can make again."""
    return hashlib.shake_256(f"sordino vector {label}".encode()).digest(length)


def _lanes(label: str, count: int, width: int) -> list[int]:
    size = width // 8
    data = _bytes(label, count * size)
    return [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]


def keystreams() -> list[Case]:
    """Bytes of the PRG, also across a block's edge and at the last block of a stream."""
    cases = []
    for number, (stream, offset, length) in enumerate(
        [(0, 0, 64), (1, 0, 16), (2**64 - 1, 7, 40), (5, 16 * (2**32 - 1), 48), (9, 16 * (2**64 - 1), 16)]
    ):
        seed = _bytes(f"keystream seed {number}", 32)
        out = aes256.keystream(seed, length, stream=stream, offset=offset)
        cases.append({"seed": seed.hex(), "stream": stream, "offset": offset, "keystream": out.hex()})
    return cases


def masked() -> list[Case]:
    """Masked lanes of both widths."""
    cases = []
    for number, (width, count, added, subtracted, stream, offset) in enumerate(
        [(32, 9, 1, 0, 0, 0), (32, 6, 2, 3, 4, 3), (64, 5, 1, 1, 0, 1), (64, 4, 0, 2, 2**63, 2**40 + 1)]
    ):
        lanes = _lanes(f"mask lanes {number}", count, width)
        add = [_bytes(f"mask add {number} {k}", 32) for k in range(added)]
        subtract = [_bytes(f"mask subtract {number} {k}", 32) for k in range(subtracted)]
        result = masks.add_masks(lanes, add, subtract, width=width, stream=stream, offset=offset)
        cases.append(
            {
                "width": width,
                "stream": stream,
                "offset": offset,
                "lanes": lanes,
                "add": b"".join(add).hex(),
                "subtract": b"".join(subtract).hex(),
                "masked": result,
            }
        )
    return cases


def encoded() -> list[Case]:
    """Fixed-point lanes; ties, the clip itself, negative numbers."""
    values = [0.0, -0.0, 0.5, 1.5, -0.5, -2.5, 4.0, -4.0, 3.14159, 1e-300]
    cases = []
    for width, scale, weight in [(32, 1.0, 1), (32, 1024.0, 300), (64, 2.0**40, 1000), (64, 3.7, 0)]:
        lanes = fixed_point.encode(values, clip=4.0, scale=scale, weight=weight, width=width)
        cases.append(
            {"width": width, "clip": 4.0, "scale": scale, "weight": weight, "values": values, "lanes": lanes}
        )
    return cases


def packed() -> list[Case]:
    """Packed lanes at widths that do and do not fill bytes."""
    cases: list[Case] = []
    for width, bits, count in [(32, 1, 11), (32, 13, 7), (32, 32, 3), (64, 33, 5), (64, 63, 3), (64, 64, 2)]:
        lanes = _lanes(f"packing {bits}", count, width)
        data = bit_packing.pack(lanes, bits=bits)
        cases.append({"width": width, "bits": bits, "lanes": lanes, "data": data.hex()})
    return cases


def packed_bad() -> list[Case]:
    """Bytes that `pack` never writes and that must be refused."""
    good = bit_packing.pack(_lanes("packing bad", 5, 32), bits=13)  # 65 bits: seven spare ones
    cases = []
    for reason, data in [
        ("one byte short", good[:-1]),
        ("one byte long", good + b"\0"),
        ("empty", b""),
        ("first spare bit set", good[:-1] + bytes([good[-1] | 0x02])),
        ("last spare bit set", good[:-1] + bytes([good[-1] | 0x80])),
    ]:
        cases.append({"reason": reason, "bits": 13, "count": 5, "data": data.hex()})
    return cases


def shared() -> list[Case]:
    """Shares of one and of many secrets, at the field's last points too."""
    cases = []
    for number, (count, points, threshold) in enumerate(
        [(1, [1, 2, 3], 2), (2, [1, 7, 40000, 65535], 3), (1, [9], 1)]
    ):
        secrets = _bytes(f"shamir secrets {number}", 32 * count)
        seed = _bytes(f"shamir seed {number}", 32)
        shares = shamir.split(secrets, points, threshold=threshold, seed=seed)
        assert shamir.combine(points[-threshold:], shares[-threshold:]) == secrets
        cases.append(
            {
                "secrets": secrets.hex(),
                "points": points,
                "threshold": threshold,
                "seed": seed.hex(),
                "shares": [share.hex() for share in shares],
            }
        )
    return cases


def noise() -> list[Case]:
    """Samples of the discrete Gaussian: of tables, across a group's edge, and by rejection."""
    cases = []
    for number, (sigma, offset, count) in enumerate(
        [
            (0.5, 0, 24),
            (3.0, 1020, 8),
            (16.0, 1024 * (2**54 - 1), 12),
            (16.000000000000004, 0, 24),
            (1234.5678, 1024 * 7, 12),
            (1e9, 0, 12),
            (2.0**40, 1024, 12),
        ]
    ):
        seed = _bytes(f"noise seed {number}", 32)
        drawn = discrete_gaussian.samples(sigma, count, seed=seed, offset=offset)
        cases.append({"seed": seed.hex(), "sigma": sigma.hex(), "offset": offset, "samples": drawn})
    return cases


FILES = {
    "keystream.json": keystreams,
    "masks.json": masked,
    "fixed_point.json": encoded,
    "packing.json": packed,
    "packing_bad.json": packed_bad,
    "shamir.json": shared,
    "noise.json": noise,
}


def document(name: str) -> str:
    """Give the text of one file."""
    make = FILES[name]
    content = {
        "about": (make.__doc__ or "").strip(),
        "made_by": "tests/reference/vectors.py, by the references beside it; inputs are SHAKE-256",
        "cases": make(),
    }
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    for name in FILES:
        (ROOT / "vectors" / name).write_text(document(name), encoding="utf-8")
