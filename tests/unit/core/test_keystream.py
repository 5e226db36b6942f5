# SPDX-License-Identifier: Apache-2.0

"""The PRG is exactly AES-256-CTR, whatever the backend."""

from __future__ import annotations

import json
from pathlib import Path

import cryptography_vectors
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference import aes256
from sordino import _core
from sordino.errors import InvalidArgument

SEED = bytes(range(32))
VECTORS = Path(__file__).parents[2] / "vectors"


def keystream(seed: bytes, length: int, *, stream: int = 0, offset: int = 0) -> bytes:
    out = np.full(length, 0xA5, np.uint8)
    _core.keystream(seed, out, stream=stream, offset=offset)
    return out.tobytes()


def openssl(seed: bytes, length: int, *, stream: int = 0, offset: int = 0) -> bytes:
    block, skip = divmod(offset, 16)
    iv = stream.to_bytes(8, "big") + block.to_bytes(8, "big")
    return Cipher(algorithms.AES(seed), modes.CTR(iv)).encryptor().update(bytes(skip + length))[skip:]


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def test_reference_block_is_fips_197_appendix_c3() -> None:
    words = aes256.expand_key(bytes(range(32)))
    plaintext = bytes.fromhex("00112233445566778899aabbccddeeff")
    assert aes256.encrypt_block(words, plaintext).hex() == "8ea2b7ca516745bfeafc49904b496089"


@pytest.mark.usefixtures("backend")
def test_nist_sp_800_38a_f55() -> None:
    vector = json.loads((VECTORS / "sp800_38a_f55.json").read_text(encoding="utf-8"))
    stream, block = divmod(int(vector["counter"], 16), 2**64)
    plaintext = bytes.fromhex(vector["plaintext"])
    pad = keystream(bytes.fromhex(vector["key"]), len(plaintext), stream=stream, offset=16 * block)
    assert xor(pad, plaintext).hex() == vector["ciphertext"]


@pytest.mark.usefixtures("backend")
def test_cryptography_vectors() -> None:
    with cryptography_vectors.open_vector_file("ciphers/AES/CTR/aes-256-ctr.txt", "r") as file:
        fields = dict(line.strip().lower().split(" = ") for line in file if " = " in line)
    stream, block = divmod(int(fields["iv"], 16), 2**64)
    plaintext = bytes.fromhex(fields["plaintext"])
    pad = keystream(bytes.fromhex(fields["key"]), len(plaintext), stream=stream, offset=16 * block)
    assert xor(pad, plaintext).hex() == fields["ciphertext"]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("offset", [0, 1, 15, 16, 17, 127, 128, 129])
def test_every_length_around_blocks_and_batches(offset: int) -> None:
    whole = openssl(SEED, 700, stream=3)
    for length in range(420):
        assert keystream(SEED, length, stream=3, offset=offset) == whole[offset : offset + length]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("block", [2**8 - 3, 2**16 - 3, 2**32 - 3, 2**56 - 3, 2**63 - 3])
def test_block_index_carries(block: int) -> None:
    for stream in (0, 1, 2**32, 2**64 - 1):
        where = {"stream": stream, "offset": 16 * block + 5}
        assert keystream(SEED, 300, **where) == openssl(SEED, 300, **where)


@pytest.mark.usefixtures("backend")
def test_last_block_of_a_stream() -> None:
    last = 16 * (2**64 - 1)
    assert keystream(SEED, 16, stream=7, offset=last) == openssl(SEED, 16, stream=7, offset=last)
    assert keystream(SEED, 1, stream=7, offset=last + 15) == openssl(SEED, 16, stream=7, offset=last)[15:]


@pytest.mark.parametrize(("offset", "length"), [(16 * (2**64 - 1), 17), (16 * 2**64 - 1, 2)])
def test_keystream_never_wraps_into_the_next_stream(offset: int, length: int) -> None:
    out = np.full(length, 7, np.uint8)
    with pytest.raises(InvalidArgument, match="^offset: "):
        _core.keystream(SEED, out, offset=offset)
    assert (out == 7).all()


@pytest.mark.usefixtures("backend")
def test_equals_the_reference() -> None:
    for length, stream, offset in [(0, 0, 0), (1, 0, 0), (40, 2**64 - 1, 9), (150, 12345, 16 * 77 + 3)]:
        expected = aes256.keystream(SEED, length, stream=stream, offset=offset)
        assert keystream(SEED, length, stream=stream, offset=offset) == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.binary(min_size=32, max_size=32),
    length=st.integers(0, 5000),
    stream=st.integers(0, 2**64 - 1),
    offset=st.integers(0, 2**68 - 5001),
)
@pytest.mark.usefixtures("backend")
def test_equals_another_library(seed: bytes, length: int, stream: int, offset: int) -> None:
    assert keystream(seed, length, stream=stream, offset=offset) == openssl(
        seed, length, stream=stream, offset=offset
    )


@pytest.mark.usefixtures("backend")
def test_unaligned_output() -> None:
    out = np.zeros(1000, np.uint8)
    for start in range(1, 17):
        _core.keystream(SEED, out[start : start + 300])
        assert out[start : start + 300].tobytes() == openssl(SEED, 300)


def test_any_buffer_of_bytes_is_a_seed() -> None:
    expected = keystream(SEED, 20)
    for seed in (bytearray(SEED), memoryview(SEED), np.frombuffer(SEED, np.uint8)):
        out = bytearray(20)
        _core.keystream(seed, out)
        assert bytes(out) == expected
