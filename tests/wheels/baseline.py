"""Do instructions beyond the baseline stand only where a look at the CPU comes first? By disassembly.

    python tests/wheels/baseline.py LIBRARY...      libsordino.a, or the module _core with its symbols

A plain x86-64 CPU has SSE2. A function may have more only if it comes from a file named after its
instruction set, such as aes_ctr_vaes512.cpp, and belongs to that file alone: dispatch takes such functions
after it has looked at the CPU. An inline function of the standard library that was compiled with wide
instructions is what this is for: the linker would give it to everyone.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

PREFIXES = frozenset({0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3})

# What a file may hold, by the last word of its name.
SETS = {
    "aesni": {"SSSE3 to AES"},
    "avx2": {"SSSE3 to AES", "VEX"},
    "vaes256": {"SSSE3 to AES", "VEX"},
    "avx512": {"SSSE3 to AES", "VEX", "EVEX"},
    "vaes512": {"SSSE3 to AES", "VEX", "EVEX"},
}

ARCHIVE_MEMBER = re.compile(r"^File: .*\((.+)\)$|^(\S+):\s+file format ")
SYMBOL = re.compile(r"^\s*\d+: ([0-9a-f]+)\s+\S+ (\w+)\s+(LOCAL|GLOBAL|WEAK|UNIQUE)\s+\w+\s+\S+\s+(\S+)")
FUNCTION = re.compile(r"^([0-9a-f]+) <(.+)>:$")
INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\t((?:[0-9a-f]{2} )+)\s*\t")


class Function(NamedTuple):
    member: str  # of an archive; a shared library has one, ""
    address: int
    name: str


def beyond_sse2(code: bytes) -> str | None:
    """Say what an instruction needs beyond SSE2, by how it is encoded (Intel SDM, volume 2, chapter 2)."""
    at = 0
    while code[at] in PREFIXES:
        at += 1
    if code[at] in (0xC4, 0xC5):
        return "VEX"
    if code[at] == 0x62:
        return "EVEX"
    if code[at] >> 4 == 4:  # REX
        at += 1
    if code[at : at + 2] in (b"\x0f\x38", b"\x0f\x3a") or (
        0xF3 in code[:at] and code[at : at + 2] == b"\x0f\xb8"
    ):
        return "SSSE3 to AES"  # the maps 0F38 and 0F3A, and popcnt
    return None


def tool(*command: str | Path) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def homes(library: Path) -> dict[Function, str]:
    """Return the source file of every function that belongs to one file alone."""
    found = {}
    member = file = ""
    for line in tool("readelf", "--symbols", "--wide", library):
        if heading := ARCHIVE_MEMBER.match(line):
            member, file = heading[1] or heading[2], ""
        elif symbol := SYMBOL.match(line):
            address, kind, binding, name = symbol.groups()
            if kind == "FILE":
                file = name
            elif kind == "FUNC" and binding == "LOCAL" and file:
                found[Function(member, int(address, 16), name)] = file
        elif re.match(
            r"^\s*\d+: .* FILE ", line
        ):  # one without a name: what the linker made local follows it
            file = ""
    return found


def used(library: Path) -> dict[Function, Counter[str]]:
    """Count what each function needs beyond SSE2."""
    found: dict[Function, Counter[str]] = {}
    function = Function("", 0, "")
    archive = library.suffix == ".a"
    member = ""
    for line in tool("objdump", "--disassemble", "--insn-width=16", library):
        if heading := ARCHIVE_MEMBER.match(line):
            member = heading[2] if archive else ""
        elif start := FUNCTION.match(line):
            function = Function(member, int(start[1], 16), start[2])
            found.setdefault(function, Counter())
        elif (instruction := INSTRUCTION.match(line)) and (
            needs := beyond_sse2(bytes.fromhex(instruction[1]))
        ):
            found[function][needs] += 1
    return found


def main(*libraries: str) -> int:
    faults = 0
    for library in map(Path, libraries):
        home = homes(library)
        functions = used(library)
        inside: dict[str, Counter[str]] = {}
        for function, needs in functions.items():
            file = home.get(function, "")
            allowed = SETS.get(Path(file).stem.rpartition("_")[2], set())
            inside.setdefault(file, Counter()).update(needs if allowed else {})
            if needs.keys() - allowed:
                faults += 1
                print(f"{library.name}: {function.name} of {file or 'several files'}: {dict(needs)}")
        print(f"{library.name}: {len(functions)} functions")
        for file, needs in sorted(inside.items()):
            if needs:
                print(f"  {file}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(needs.items())))
        if not any(inside.values()):  # a library without symbols, or of another architecture
            raise SystemExit(f"{library}: no dispatched function was found, so this says nothing")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
