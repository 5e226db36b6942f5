# SPDX-License-Identifier: Apache-2.0

"""AES-256 as FIPS 197 writes it, with its names; and its counter mode as sordino uses it."""

from __future__ import annotations

BLOCK = 16
ROUNDS = 14


def _multiply(a: int, b: int) -> int:
    """Multiply in GF(2^8), FIPS 197 section 4.2."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= 0x11B
        b >>= 1
    return product


def _s_box_entry(value: int) -> int:
    """Invert in the field, then apply the affine map of section 5.1.1."""
    inverse = next((x for x in range(256) if _multiply(value, x) == 1), 0)
    result = 0
    for i in range(8):
        bit = 0x63 >> i
        for distance in (0, 4, 5, 6, 7):
            bit ^= inverse >> (i + distance) % 8
        result |= (bit & 1) << i
    return result


S_BOX = [_s_box_entry(value) for value in range(256)]
_TWICE = [_multiply(value, 2) for value in range(256)]


def expand_key(key: bytes) -> list[list[int]]:
    """Give the 60 words of four bytes of section 5.2."""
    assert len(key) == 32
    words = [list(key[i : i + 4]) for i in range(0, 32, 4)]
    constant = 1
    for i in range(8, 4 * (ROUNDS + 1)):
        word = words[i - 1]
        if i % 8 == 0:
            word = [S_BOX[byte] for byte in word[1:] + word[:1]]
            word[0] ^= constant
            constant = _TWICE[constant]
        elif i % 8 == 4:
            word = [S_BOX[byte] for byte in word]
        words.append([a ^ b for a, b in zip(words[i - 8], word, strict=True)])
    return words


def encrypt_block(words: list[list[int]], block: bytes) -> bytes:
    """Encrypt one block; `state[c][r]` is row r of column c, section 3.4."""

    def add_round_key(state: list[list[int]], number: int) -> list[list[int]]:
        keys = words[4 * number : 4 * number + 4]
        return [[a ^ b for a, b in zip(*columns, strict=True)] for columns in zip(state, keys, strict=True)]

    def shift_rows(state: list[list[int]]) -> list[list[int]]:
        return [[state[(c + r) % 4][r] for r in range(4)] for c in range(4)]

    def mix_column(a: list[int]) -> list[int]:
        return [
            _TWICE[a[r]] ^ _TWICE[a[(r + 1) % 4]] ^ a[(r + 1) % 4] ^ a[(r + 2) % 4] ^ a[(r + 3) % 4]
            for r in range(4)
        ]

    state = add_round_key([list(block[i : i + 4]) for i in range(0, BLOCK, 4)], 0)
    for number in range(1, ROUNDS + 1):
        state = shift_rows([[S_BOX[byte] for byte in column] for column in state])
        if number < ROUNDS:
            state = [mix_column(column) for column in state]
        state = add_round_key(state, number)
    return bytes(byte for column in state for byte in column)


def keystream(seed: bytes, length: int, *, stream: int = 0, offset: int = 0) -> bytes:
    """Give `length` bytes from byte `offset` on; the IV is stream | block index, both 8 bytes big-endian."""
    words = expand_key(seed)
    first, skip = divmod(offset, BLOCK)
    blocks = [
        encrypt_block(words, stream.to_bytes(8, "big") + block.to_bytes(8, "big"))
        for block in range(first, (offset + length + BLOCK - 1) // BLOCK)
    ]
    return b"".join(blocks)[skip : skip + length]
