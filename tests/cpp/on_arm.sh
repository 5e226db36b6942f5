#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The C++ tests on 64-bit ARM in an emulator, with and without AES instructions: on_arm.sh BUILD PYTHON
set -eu
build=$1
python=$2
here=$(dirname "$0")
log=$build/executed.txt

"$python" "$here/instructions.py" "$build/libsordino.a" --objdump aarch64-linux-gnu-objdump

arm() { qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu "$@"; }
arm_without_aes() { arm -E LD_PRELOAD="$build/tests/cpp/libhide_aes.so" "$@"; }
# All that the program executed, disassembled: how much of it are AES instructions.
aes_executed() { grep -cE '\b(aese|aesmc)\b' "$log" || true; }

[ "$(arm "$build/tests/cpp/which_backend")" = armv8 ]
arm "$build/tests/cpp/sordino_tests" --gtest_brief=1
arm -d in_asm -D "$log" "$build/tests/cpp/sordino_tests" --gtest_brief=1 --gtest_filter='Cpu/Masks.AreTheStored*'
with=$(aes_executed)

[ "$(arm_without_aes "$build/tests/cpp/which_backend")" = portable ]
if refusal=$(arm_without_aes -E SORDINO_CPU=armv8 "$build/tests/cpp/which_backend" 2>&1); then exit 1; fi
echo "without AES: $refusal"
case $refusal in "SORDINO_CPU: "*"'armv8'"*) ;; *) exit 1 ;; esac
arm_without_aes -d in_asm -D "$log" "$build/tests/cpp/sordino_tests" --gtest_brief=1
without=$(aes_executed)
echo "AES instructions executed: $with with the CPU's, $without without"
[ "$with" -gt 0 ] && [ "$without" = 0 ]
