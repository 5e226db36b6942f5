# SPDX-License-Identifier: Apache-2.0

"""Kernels of the secure sum.

Arrays are C-contiguous, aligned and of native byte order, and have one dimension if nothing else is said;
they are never converted or copied. Buffers (`seed`, `secrets`, `data`, ...) are any C-contiguous buffer of
single bytes; a seed has 32. Memory that a call reads must not overlap memory that it writes. A refused call
leaves its outputs as they were. The GIL is released while a kernel runs.

Every function raises `sordino.errors.InvalidArgument`, naming the argument, for what breaks these rules.
`w` is the width of a lane, 32 or 64.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray
from typing_extensions import Buffer

_Lanes: TypeAlias = NDArray[np.uint32] | NDArray[np.uint64]
_Values: TypeAlias = NDArray[np.float32] | NDArray[np.float64]

class _Readable(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...

class _Writable(Protocol):
    def write(self, data: memoryview, /) -> int | None: ...

__version__: str

def backends() -> tuple[str, ...]:
    """Return the PRG implementations that this CPU can run, fastest first."""

def backend() -> str:
    """Return the PRG implementation in use: the fastest, or the one that `SORDINO_CPU` names.

    Raises `InvalidArgument` if `SORDINO_CPU` names one that is unknown or that this CPU cannot run; so does
    the first kernel that needs it. The variable is read once, at first use.
    """

def select_backend(name: str | None) -> None:
    """Choose a PRG implementation for the whole process, for tests and measurements.

    None chooses afresh, by `SORDINO_CPU` as it is now. All implementations give the same bytes.
    """

def keystream(seed: Buffer, out: Buffer, *, stream: int = 0, offset: int = 0) -> None:
    """Fill `out` with the AES-256-CTR keystream bytes `[offset, offset + len(out))`.

    The key is `seed`; the IV is the stream id and the block index, each as 8 bytes big-endian.
    """

def default_threads() -> int:
    """Return how many threads a kernel takes that is not told: `SORDINO_THREADS`, or one for each core.

    Raises `InvalidArgument` if that variable is set to no positive decimal number.
    """

def add_masks(
    lanes: _Lanes,
    add: Buffer,
    subtract: Buffer,
    *,
    stream: int = 0,
    offset: int = 0,
    threads: int | None = None,
) -> None:
    """Add the keystreams of the seeds in `add` to the lanes and subtract those in `subtract`, mod 2^w.

    Both hold any number of 32-byte seeds. Lane i reads, little-endian, the keystream bytes from
    `(offset + i) * w / 8` on, so a vector may be masked in pieces.

    `threads` is at least 1; None takes `SORDINO_THREADS`, or else a thread for each core. The result is the
    same for any number. Raises `InvalidArgument` if that variable is set to no positive decimal number.
    """

def sum_uploads(
    payloads: Sequence[Buffer],
    lanes: _Lanes,
    *,
    bits: int,
    add: Buffer,
    subtract: Buffer,
    threads: int | None = None,
) -> None:
    """Overwrite `lanes` with the sum of packed uploads, plus and minus the seeds' keystreams, mod 2^bits.

    One pass over tiles that stay in the cache, whatever the number of payloads and seeds. Seeds, streams and
    `threads` are as in `add_masks`, at stream 0 and offset 0.

    Raises `MalformedMessage` for a payload of a wrong length or with a spare bit set, with nothing written.
    """

LEAST_SIGMA: float
"""The least sigma of the noise: 0.5."""

GREATEST_SIGMA: float
"""The greatest: 2^40."""

NOISE_DISTANCE_LOG2: int
"""Log to base 2 of the total variation distance that no sample of the noise exceeds.

d samples cost delta at most `d * (1 + exp(epsilon)) * 2.0**NOISE_DISTANCE_LOG2`.
"""

def add_noise(
    lanes: _Lanes, seeds: Buffer, sigmas: Sequence[float], *, offset: int = 0, threads: int | None = None
) -> None:
    """Add to each lane one sample of the discrete Gaussian for each seed, mod 2^w.

    `seeds` holds as many 32-byte seeds as there are `sigmas`, in units of a lane; a seed is for noise only,
    and for one sigma. Each sigma, from 0.5 to 2^40, is taken exactly as the double that it is: what is
    sampled has P(x) proportional to exp(-x^2 / (2 sigma^2)), within `NOISE_DISTANCE_LOG2`. Lane i gets
    sample `offset + i`, so a vector may be done in pieces, with any number of `threads` (as in `add_masks`).

    Source: docs/math/discrete-gaussian.md, which also says what its time shows.
    """

def subtract_noise(
    lanes: _Lanes, seeds: Buffer, sigmas: Sequence[float], *, offset: int = 0, threads: int | None = None
) -> None:
    """Subtract exactly what `add_noise` adds, mod 2^w."""

def gaussian_variance(sigma: float) -> float:
    """Return the variance of one sample: `sigma**2` from 3 on, less below (0.2150 for 0.5)."""

def discrete_laplace(
    count: int, seed: Buffer, *, numerator: int, denominator: int, offset: int = 0, threads: int | None = None
) -> NDArray[np.int64]:
    """Return samples with P(x) proportional to exp(-|x| denominator / numerator); both from 1 to 2^32.

    Sample i reads stream `offset + i` of the PRG. Its time shows its size. Source: Canonne, Kamath & Steinke
    2020, Algorithm 2.
    """

def bernoulli_exp(
    count: int, seed: Buffer, *, numerator: int, denominator: int, offset: int = 0, threads: int | None = None
) -> NDArray[np.uint8]:
    """Return 1 with probability exp(-numerator / denominator), else 0, independently.

    The numerator is from 0, the denominator from 1 to 2^32. Streams and time as in `discrete_laplace`.
    Source: Canonne, Kamath & Steinke 2020, Algorithm 1.
    """

def poisson_sample(
    count: int, seed: Buffer, *, q: float, offset: int = 0, threads: int | None = None
) -> NDArray[np.uint8]:
    """Return 1 with probability `q`, else 0, independently: who is in a Poisson sample. 0 < q <= 1.

    The probability is the double itself from 2^-75 on; below that it is rounded down to a multiple of
    2^-128, which is the safe side, since less sampling never costs more privacy. The time does not depend on
    who is in.
    """

def encode(
    values: _Values,
    lanes: _Lanes,
    *,
    clip: float,
    scale: float,
    weight: int,
    saturate: bool,
    l2_bound: float | None = None,
    rounding_seed: Buffer | None = None,
    stream: int = 0,
    offset: int = 0,
    threads: int | None = None,
) -> None:
    """Write `round(values * scale) * weight mod 2^w` to the lanes.

    Rounding is to nearest, ties to even. With `rounding_seed` it is stochastic and unbiased: up with the
    probability of the fraction, decided by the top 53 bits of the keystream's 64-bit word `offset + i`.

    With `l2_bound` a vector of a larger `l2_norm` is first multiplied by `l2_bound / l2_norm(values)`, and
    what is then beyond the clip saturates. `threads` is as for `add_masks`, here and below.

    Raises `ValueOutOfRange` for NaN or infinity, for `|value| > clip` unless `saturate`, for a negative
    weight, and if `ceil(clip * scale) * weight` is not below 2^(w-1). The message gives an index, no value.
    """

def encode_pack(
    values: _Values,
    out: Buffer,
    *,
    bits: int,
    clip: float,
    scale: float,
    weight: int,
    saturate: bool,
    l2_bound: float | None = None,
    rounding_seed: Buffer | None = None,
    stream: int = 0,
    offset: int = 0,
    threads: int | None = None,
) -> None:
    """Fill `out` with what `pack` makes of the lanes that `encode` writes, without those lanes.

    out     `packed_size(len(values), bits)` bytes
    bits    from 1 to 64; lanes are of 32 bits, or of 64 above that

    Raises as `encode` does, where `w` is `bits`: every encoded value fits its packed lane.
    """

def write_upload(
    source: _Values | _Readable,
    sink: Buffer | _Writable | Callable[[memoryview], object],
    *,
    bits: int,
    clip: float,
    scale: float,
    weight: int,
    saturate: bool,
    add: Buffer = b"",
    subtract: Buffer = b"",
    mask_stream: int = 0,
    mask_offset: int = 0,
    l2_bound: float | None = None,
    rounding_seed: Buffer | None = None,
    stream: int = 0,
    offset: int = 0,
    count: int | None = None,
    dtype: DTypeLike | None = None,
    threads: int | None = None,
) -> None:
    """Encode, mask and pack a vector in chunks: `encode`, `add_masks` and `pack` without the lanes.

    source   an array, or an open binary file that holds `count` values of `dtype` (float32 or float64, in
             this machine's byte order) from its position on
    sink     a buffer of exactly `packed_size(values, bits)` bytes, an open binary file, or a callable that
             takes them in order as a `memoryview` that is valid during the call, so `hashlib` can digest them
    add, subtract, mask_stream, mask_offset    as `add_masks` takes seeds, its stream and its offset
    offset   of the rounding's keystream, as for `encode`

    The process grows by no more than 64 MiB; pages of a `numpy.memmap` are given back behind the reading and
    writing, so two mapped files take no more than that in all.

    Arguments are checked before anything is written, and so are the values, in a reading of their own. A file
    that cannot seek is read once and its values are checked as they come; with `l2_bound`, or a buffer as the
    sink, it is refused. Raises as `encode_pack` and `add_masks` do, and what source and sink raise.
    """

def l2_norm(values: _Values, *, threads: int | None = None) -> float:
    """Return the square root of the sum of squares, the same double on every machine.

    The order of additions is stated in codec.hpp. Infinite if the norm itself is beyond a double. Raises
    `ValueOutOfRange` for NaN and infinity.
    """

class RowCounts:
    """What `clip_accumulate` met; each number depends on single patients and stays at the site."""

    @property
    def clipped(self) -> int:
        """Rows whose norm was above the bound."""
    @property
    def left_out(self) -> int:
        """Rows with NaN or infinity, which added nothing."""
    @property
    def truncated(self) -> int:
        """Rows that were rounded toward zero, since no other rounding was within the limit."""

def clip_accumulate(
    rows: _Values,
    lanes: _Lanes,
    *,
    bound: float,
    scale: float,
    limit: int,
    rounding_seed: Buffer | None = None,
    stream: int = 0,
    offset: int = 0,
    threads: int | None = None,
) -> RowCounts:
    """Add the integers of clipped rows to the lanes, mod 2^w.

    rows     shape (n, d), C-contiguous; lanes have shape (d,)
    bound    of a row's L2 norm; a longer one is multiplied by `bound / l2_norm(row)`
    scale    units per 1.0
    limit    of the squared norm of a row's integers, held exactly: at least `(bound * scale)**2`, rounded
             down, and with stochastic rounding the bound of Kairouz, Liu & Steinke 2021, Prop. 22

    Rounding is to nearest, or with `rounding_seed` stochastic, repeated until the limit holds; what 64
    attempts do not bring within it is rounded toward zero. Attempt a at column j of row i is decided by the
    word `(offset + i) * (d + d % 2) + j` of stream `stream + a`.

    No value is refused, which would tell of a patient: rows with NaN or infinity add nothing. Raises
    `ValueOutOfRange` if `ceil(bound * scale)` is not below 2^(w-1).
    """

def decode(lanes: _Lanes, *, bits: int, scale: float) -> NDArray[np.float64]:
    """Return the low `bits` bits of each lane as a signed integer, divided by `scale`."""

def signed(lanes: _Lanes, *, bits: int) -> NDArray[np.int64]:
    """Return the low `bits` bits of each lane as a signed integer."""

def packed_size(lanes: int, bits: int) -> int:
    """Return how many bytes `pack` makes of so many lanes: `ceil(lanes * bits / 8)`."""

def pack(lanes: _Lanes, *, bits: int) -> bytes:
    """Return the low `bits` bits of all lanes as one little-endian bit string; spare last bits are zero."""

def unpack_add(data: Buffer, lanes: _Lanes, *, bits: int) -> None:
    """Add packed lanes to `lanes`, mod 2^w.

    Raises `MalformedMessage` for a wrong length, and for a spare bit that is set.
    """

def unpack_subtract(data: Buffer, lanes: _Lanes, *, bits: int) -> None:
    """Subtract packed lanes from `lanes`, mod 2^w; otherwise as `unpack_add`."""

def shamir_split(
    secrets: Buffer, points: Sequence[int], *, threshold: int, seed: Buffer
) -> NDArray[np.uint8]:
    """Share S secrets of 32 bytes; return the shares, shape (points, S, 32).

    `points` are distinct integers from 1 to 65535. The polynomials' coefficients are the keystream of `seed`,
    which must be fresh: a second call with it would uncover the secrets' differences.
    """

def shamir_combine(points: Sequence[int], shares: NDArray[np.uint8]) -> bytearray:
    """Rebuild secrets from the shares, shape (points, S, 32), that belong to distinct points.

    Too few or wrong shares give wrong secrets and no error: commitments tell, one layer up.
    """

def sha256(message: Buffer) -> bytes:
    """Return the SHA-256 digest of a message."""

def sha256_backend() -> str:
    """Return the SHA-256 implementation in use: "portable" with the PRG of that name, else the CPU's own."""

def merkle_roots(
    shares: Buffer,
    openings: Sequence[Buffer],
    *,
    node: Buffer,
    root: Buffer,
    padding: Buffer,
    threads: int | None = None,
) -> list[bytes]:
    """Return for each opening the Merkle root over its row of 32-byte shares, of which there is at least one.

    With the pieces I(n) and B(x) of the canonical encoding, a leaf is SHA-256(opening | I(index) | B(share)),
    a node SHA-256(node | B(left) | B(right)), a root SHA-256(root | B(top)). `padding`, 32 bytes, stands for
    the leaves that a power of two lacks. `threads` as in `add_masks`.
    """

def merkle_paths(
    shares: Buffer, opening: Buffer, wanted: Sequence[int], *, node: Buffer, root: Buffer, padding: Buffer
) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """Return the root over one row of shares and, for each wanted index, its siblings from the leaf up."""

def merkle_climb(
    shares: Buffer,
    opening: Buffer,
    indices: Sequence[int],
    paths: Buffer,
    *,
    depth: int,
    node: Buffer,
    root: Buffer,
    padding: Buffer,
) -> list[bytes]:
    """Return the root that each share leads to from its index by its path, `depth` digests in `paths`."""

def wipe(buffer: Buffer) -> None:
    """Zero a writable C-contiguous buffer of any element type, in a way that no compiler drops."""
