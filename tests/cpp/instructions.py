# SPDX-License-Identifier: Apache-2.0

"""Check that instructions which not every CPU has sit in dispatched functions alone.

`python tests/cpp/instructions.py libsordino.a [--objdump aarch64-linux-gnu-objdump]`

An instruction beyond the architecture's baseline may stand only in a local function of a file that is named
after an instruction set: such a function can be reached through its file's table and in no other way. What
the linker may share between files (a weak symbol, as inline functions of the standard library have) is
refused everywhere, since it would be given to callers that dispatch nothing.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter

SETS = r"aesni|avx2|avx512|vaes256|vaes512|armv8|sha_ni|sse41"
DISPATCHED = re.compile(rf"(?:^|_)(?:{SETS})\.cpp\.o$")

# x86-64: whatever is coded by VEX or EVEX, and SSSE3 to SSE4.2, AES, SHA, POPCNT, MOVBE in their old coding.
X86 = re.compile(
    r"^(?:v(?!err|erw|mcall|mrun)\w+|k(?:mov|and|or|not|xor|test|ortest|shift|unpck|add)\w*"
    r"|andn|bextr|bls\w+|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|adcx|adox|popcnt|movbe|crc32\w*"
    r"|aes\w+|pclmul\w+|sha(?:1|256)\w+|gf2p8\w+"
    r"|pshufb|palignr|phadd\w+|phsub\w+|pabs\w|psign\w|pmaddubsw|pmulhrsw"
    r"|p?blend\w+|pmov[sz]x\w+|pinsr[bdq]|pextr[bdq]|ptest|pmulld|pmuldq|pmin(?:sb|sd|uw|ud)|pmax(?:sb|sd|uw|ud)"
    r"|pcmpeqq|pcmpgtq|packusdw|round[sp][sd]|insertps|extractps|dpp[sd]|movntdqa|mpsadbw|pcmp[ei]str\w)$"
)
# AArch64: AES, long polynomial products, SHA, dot products, LSE atomics, and scalable vectors.
ARM = re.compile(
    r"^(?:aes\w+|sha\d\w*|[us]dot|eor3|rax1|xar|bcax|cas\w*|swp\w*|ld(?:add|clr|set|eor)\w*|whilelo|ptrue|cnt[bhwd])$"
)
# Lines of objdump: an instruction without its prefixes, wide registers among operands, a symbol of one file.
INSTRUCTION = re.compile(r"^\s+[0-9a-f]+:\s+(?:(?:lock|rep\w*|bnd|notrack|data16)\s+)*(\S+)(.*)")
WIDE = re.compile(r"%[yz]mm|%k[0-7]\b")
LOCAL = re.compile(r"^[0-9a-f]+ l.{6} \S+\s+[0-9a-f]+ (?:\.hidden )?(\S+)$")

Function = tuple[str, str]  # object file, symbol


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def beyond_baseline(archive: str, objdump: str) -> dict[Function, Counter[str]]:
    """The functions that have such instructions, with the number of each."""
    found: dict[Function, Counter[str]] = {}
    beyond = X86
    member = symbol = ""
    for line in output(objdump, "--disassemble", "--no-show-raw-insn", "--wide", archive).splitlines():
        if title := re.match(r"^(\S+):\s+file format (\S+)", line):
            member, beyond = title[1], ARM if "aarch64" in title[2] else X86
        elif title := re.match(r"^[0-9a-f]+ <(.+)>:$", line):
            symbol = title[1]
            found.setdefault((member, symbol), Counter())
        elif (parts := INSTRUCTION.match(line)) and (beyond.match(parts[1]) or WIDE.search(parts[2])):
            found[member, symbol][parts[1]] += 1
    return {function: counts for function, counts in found.items() if counts}


def local_symbols(archive: str, objdump: str) -> set[Function]:
    found = set()
    member = ""
    for line in output(objdump, "--syms", "--wide", archive).splitlines():
        if title := re.match(r"^(\S+):\s+file format", line):
            member = title[1]
        elif entry := LOCAL.match(line):
            found.add((member, entry[1]))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--objdump", default="objdump")
    options = parser.parse_args()
    wide = beyond_baseline(options.archive, options.objdump)
    local = local_symbols(options.archive, options.objdump)
    if not wide:
        print(f"{options.archive}: no instruction beyond the baseline at all: was this the right library?")
        return 1
    wrong = sorted(one for one in wide if not DISPATCHED.search(one[0]) or one not in local)
    for member, symbol in wrong:
        instructions = ", ".join(f"{name} ({count})" for name, count in wide[member, symbol].most_common(5))
        print(f"{member}: {symbol} is reached without dispatch and has {instructions}")
    files = ", ".join(sorted({member.removesuffix(".cpp.o") for member, _ in wide}))
    print(f"{len(wide)} functions beyond the baseline, in {files}; not dispatched: {len(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
