# SPDX-License-Identifier: Apache-2.0

"""A vector from source to sink in chunks: what encode, add_masks and pack give one after the other."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sordino import _core
from sordino.errors import InvalidArgument, ValueOutOfRange

SEED = b"rounding" * 4
ADD, SUBTRACT = b"a" * 64, b"b" * 32
CHUNK = 2**20  # values
HEAD = b"something before"
REALS = [np.float32, np.float64]
FORMAT: dict[str, Any] = {"clip": 1.0, "scale": 100.0, "weight": 3, "saturate": False}
MASKS: dict[str, Any] = {"add": ADD, "subtract": SUBTRACT, "mask_stream": 7, "mask_offset": 5}


def values_of(count: int, real: Any) -> np.ndarray:
    return np.random.default_rng(count).uniform(-1, 1, count).astype(real)


def in_steps(values: np.ndarray, bits: int, **changed: Any) -> bytes:
    lanes = np.zeros(len(values), np.uint32 if bits <= 32 else np.uint64)
    _core.encode(values, lanes, **(FORMAT | changed))
    _core.add_masks(lanes, ADD, SUBTRACT, stream=7, offset=5)
    return _core.pack(lanes, bits=bits)


def into_memory(values: np.ndarray, bits: int, **changed: Any) -> bytes:
    out = bytearray(b"\xee" * _core.packed_size(len(values), bits))
    _core.write_upload(values, out, bits=bits, **(FORMAT | MASKS | changed))
    return bytes(out)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("bits", [10, 27, 32, 33, 64])
@pytest.mark.parametrize("more", [{}, {"rounding_seed": SEED, "offset": 3}, {"l2_bound": 0.5}])
def test_equals_the_steps(real: Any, bits: int, more: dict[str, Any]) -> None:
    for count in (0, 1, 17, 2047, 2049, 4095, 4097, 10_001):
        values = values_of(count, real)
        expected = in_steps(values, bits, **more)
        for threads in (1, 3):
            assert into_memory(values, bits, threads=threads, **more) == expected


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("more", [{}, {"rounding_seed": SEED}, {"l2_bound": 2.0}])
def test_every_kind_of_source_and_sink_gives_the_same(
    real: Any, more: dict[str, Any], tmp_path: Path
) -> None:
    count, bits = 2 * CHUNK + 12_345, 27
    values = values_of(count, real)
    expected = in_steps(values, bits, **more)
    size = len(expected)
    (tmp_path / "values").write_bytes(HEAD + values.tobytes())
    mapped = np.memmap(tmp_path / "values", real, "r", len(HEAD), (count,))
    chunks: list[bytes] = []
    for source, about in (
        (values, {}),
        (np.asarray(mapped), {}),
        ((tmp_path / "values").open("rb"), {"count": count, "dtype": real}),
        ((tmp_path / "values").open("rb", buffering=0), {"count": count, "dtype": np.dtype(real)}),
        (io.BytesIO(HEAD + values.tobytes()), {"count": count, "dtype": np.dtype(real).name}),
    ):
        chunks.clear()
        digest = hashlib.sha256()
        target = np.memmap(tmp_path / "payload", np.uint8, "w+", 0, (size,))
        written = io.BytesIO()
        with (tmp_path / "written").open("wb", buffering=0) as file:
            for sink in (target, written, file, digest.update, lambda chunk: chunks.append(bytes(chunk))):
                if not isinstance(source, np.ndarray):
                    source.seek(len(HEAD))
                _core.write_upload(source, sink, bits=bits, **about, **(FORMAT | MASKS | more))
        assert target.tobytes() == written.getvalue() == b"".join(chunks) == expected
        assert (tmp_path / "payload").read_bytes() == (tmp_path / "written").read_bytes() == expected
        assert digest.digest() == hashlib.sha256(expected).digest()
        if not isinstance(source, np.ndarray):
            source.close()
    assert mapped.tobytes() == values.tobytes()


def test_a_private_mapping_keeps_its_changes(tmp_path: Path) -> None:
    # Dropping its pages would bring the file's bytes back.
    (tmp_path / "values").write_bytes(bytes(8 * 100_000))
    mapped = np.memmap(tmp_path / "values", np.float64, "c")
    mapped[:] = 0.5
    out = bytearray(_core.packed_size(len(mapped), 16))
    _core.write_upload(mapped, out, bits=16, **FORMAT)
    assert (mapped == 0.5).all()
    assert bytes(out) == _core.pack(np.full(len(mapped), 150, np.uint32), bits=16)


class Pipe(io.RawIOBase):
    """Bytes that come once, a few at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(memoryview(buffer)[:1_000_003])


def test_a_source_that_comes_once_is_checked_as_it_comes() -> None:
    values = values_of(CHUNK + 100, np.float32)
    sink = io.BytesIO()
    arguments = FORMAT | MASKS | {"bits": 27, "count": len(values), "dtype": np.float32}
    _core.write_upload(Pipe(values.tobytes()), sink, **arguments)
    assert sink.getvalue() == in_steps(values, 27)
    values[CHUNK + 50] = np.nan
    with pytest.raises(ValueOutOfRange, match=f"^values: element {CHUNK + 50} is NaN$"):
        _core.write_upload(Pipe(values.tobytes()), io.BytesIO(), **arguments)
    with pytest.raises(InvalidArgument, match="^source: must be readable twice where the sink is memory"):
        _core.write_upload(Pipe(b""), bytearray(_core.packed_size(len(values), 27)), **arguments)
    with pytest.raises(InvalidArgument, match="^source: must be readable twice with an l2_bound"):
        _core.write_upload(Pipe(b""), io.BytesIO(), l2_bound=1.0, **arguments)


@pytest.mark.parametrize("place", [0, CHUNK - 1, CHUNK, CHUNK + 99])
@pytest.mark.parametrize("more", [{}, {"l2_bound": 1.0}])
def test_a_refused_value_is_found_before_anything_is_written(place: int, more: dict[str, Any]) -> None:
    values = np.zeros(CHUNK + 100, np.float32)
    values[place] = np.inf
    out = bytearray(b"\xee" * len(values))
    calls: list[object] = []
    for sink in (out, calls.append):
        with pytest.raises(ValueOutOfRange, match=f"^values: element {place} is infinite$"):
            _core.write_upload(values, sink, bits=8, **(FORMAT | {"scale": 10.0} | more))
    assert out == b"\xee" * len(values)
    assert not calls


def test_a_chunk_cannot_be_kept() -> None:
    kept: list[memoryview] = []
    _core.write_upload(np.zeros(10), kept.append, bits=16, **FORMAT)
    with pytest.raises(ValueError, match="released"):
        bytes(kept[0])


def test_an_error_of_a_callable_comes_through() -> None:
    def fail(chunk: memoryview) -> None:
        raise OSError(f"no room for {len(chunk)}")

    with pytest.raises(OSError, match="^no room for 20$"):
        _core.write_upload(np.zeros(10), fail, bits=16, **FORMAT)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"source": [0.0] * 8}, "source"),
        ({"source": np.zeros(8, np.int64)}, "source"),
        ({"source": np.zeros((2, 4))}, "source"),
        ({"source": np.zeros(16)[::2]}, "source"),
        ({"source": np.zeros(8, ">f8")}, "source"),
        ({"count": 8}, "count"),
        ({"dtype": np.float64}, "dtype"),
        ({"source": io.BytesIO(bytes(64)), "dtype": np.float64}, "count"),
        ({"source": io.BytesIO(bytes(64)), "count": -1, "dtype": np.float64}, "count"),
        ({"source": io.BytesIO(bytes(64)), "count": 8}, "dtype"),
        ({"source": io.BytesIO(bytes(64)), "count": 8, "dtype": np.float16}, "dtype"),
        ({"source": io.BytesIO(bytes(64)), "count": 8, "dtype": ">f8"}, "dtype"),
        ({"source": io.BytesIO(bytes(64)), "count": 8, "dtype": "no type"}, "dtype"),
        ({"source": io.BytesIO(bytes(63)), "count": 8, "dtype": np.float64}, "source"),
        ({"source": io.StringIO("text"), "count": 8, "dtype": np.float64}, "source"),
        ({"sink": bytes(16)}, "sink"),
        ({"sink": bytearray(15)}, "sink"),
        ({"sink": bytearray(17)}, "sink"),
        ({"sink": np.zeros(8, np.uint16)}, "sink"),
        ({"sink": np.zeros(32, np.uint8)[::2]}, "sink"),
        ({"sink": io.StringIO()}, "sink"),
        ({"sink": None}, "sink"),
        ({"bits": 0}, "bits"),
        ({"bits": 65}, "bits"),
        ({"clip": 0.0}, "clip"),
        ({"scale": np.inf}, "scale"),
        ({"scale": 1e6}, "weight"),
        ({"weight": -1}, "weight"),
        ({"add": bytes(31)}, "add"),
        ({"subtract": "text"}, "subtract"),
        ({"mask_offset": 2**64 - 7}, "offset"),
        ({"mask_offset": -1}, "mask_offset"),
        ({"mask_stream": 2**64}, "mask_stream"),
        ({"rounding_seed": SEED, "offset": 2**64 - 7}, "offset"),
        ({"threads": 0}, "threads"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(changed: dict[str, Any], name: str) -> None:
    out = bytearray(b"\xee" * 16)
    arguments = {"source": np.zeros(8), "sink": out, "bits": 16} | FORMAT | changed
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        _core.write_upload(arguments.pop("source"), arguments.pop("sink"), **arguments)
    assert out == b"\xee" * 16


def test_files_opened_the_wrong_way_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "values"
    path.write_bytes(bytes(64))
    about = {"count": 8, "dtype": np.float64}
    with path.open("ab") as file, pytest.raises(InvalidArgument, match="^source: "):
        _core.write_upload(file, bytearray(16), bits=16, **about, **FORMAT)
    with path.open("rb") as file, pytest.raises(InvalidArgument, match="^sink: must be writable"):
        _core.write_upload(np.zeros(8), file, bits=16, **FORMAT)
    with path.open("r+b") as file, path.open("r+b") as same, pytest.raises(InvalidArgument, match="^sink: "):
        _core.write_upload(file, same, bits=16, **about, **FORMAT)
    mapped = np.memmap(path, np.float64, "r")
    with pytest.raises(InvalidArgument, match="^sink: must be a writable"):
        _core.write_upload(np.zeros(8), mapped.view(np.uint8)[:16], bits=16, **FORMAT)
    target = np.memmap(path, np.uint8, "r+", 0, (16,))
    with pytest.raises(InvalidArgument, match="^sink: must not be the file of the source"):
        _core.write_upload(mapped, target, bits=16, **FORMAT)
    with path.open("r+b") as file, pytest.raises(InvalidArgument, match="^sink: must not be the file"):
        _core.write_upload(mapped, file, bits=16, **FORMAT)
    assert path.read_bytes() == bytes(64)


def test_overlap_is_refused() -> None:
    memory = np.zeros(64)
    raw = memory.view(np.uint8)
    with pytest.raises(InvalidArgument, match="^source: must not share"):
        _core.write_upload(memory, raw[:128], bits=16, **FORMAT)
    for name in ("add", "subtract", "rounding_seed"):
        with pytest.raises(InvalidArgument, match=f"^{name}: must not share"):
            _core.write_upload(np.zeros(16), raw[:32], bits=16, **(FORMAT | {name: raw[:32]}))


# Memory ----------------------------------------------------------------------------------------------------

MEASURE = """
    import sys
    from pathlib import Path
    import numpy as np
    from sordino import _core

    kind, count, bits, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])

    def peak():
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    size = _core.packed_size(count, bits)
    if kind == "memory":
        source, sink, about = np.empty(count, np.float32), bytearray(size), {}
        for start in range(0, count, 2**20):
            source[start : start + 2**20] = np.linspace(-1, 1, 2**20, dtype=np.float32)[: count - start]
    elif kind == "mapped":
        source = np.memmap(folder / "values", np.float32, "r")
        sink, about = np.memmap(folder / "payload", np.uint8, "w+", 0, (size,)), {}
    else:
        source = (folder / "values").open("rb")
        sink, about = (folder / "payload").open("wb"), {"count": count, "dtype": np.float32}
    before = peak()
    _core.write_upload(
        source, sink, bits=bits, clip=1.0, scale=1e6, weight=1, saturate=False, add=bytes(64),
        subtract=bytes(range(32)), threads=2, **about,
    )
    print(before, peak())
"""


def measure(kind: str, count: int, bits: int, folder: Path) -> tuple[int, int]:
    """Return the most memory that a fresh process held before the call, and at its end, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), kind, str(count), str(bits), str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(int, done.stdout.split())
    return before, after


@pytest.fixture(scope="module")
def folder_of_values(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    def fill(count: int) -> Path:
        folder = tmp_path_factory.mktemp("values")
        with (folder / "values").open("wb") as file:
            for start in range(0, count, CHUNK):
                file.write(np.linspace(-1, 1, CHUNK, dtype=np.float32)[: count - start].tobytes())
        return folder

    return fill


LONG = os.environ.get("SORDINO_LONG") == "1"
MIB = 2**20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_peak_memory_is_bounded(folder_of_values: Callable[[int], Path]) -> None:
    count = 10**9 if LONG else 4 * 10**7  # `make long`
    bits = 27
    folder = folder_of_values(count)
    held = 4 * count + _core.packed_size(count, bits)
    for kind, bound in (("memory", held + 64 * MIB), ("mapped", 128 * MIB), ("file", 128 * MIB)):
        before, after = measure(kind, count, bits, folder)
        sys.stdout.write(
            f"{kind}: {count:.0e} values, peak {after / MIB:.1f} MiB, {before / MIB:.1f} before the call\n"
        )
        assert after < bound
