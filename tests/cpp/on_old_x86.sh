#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The C++ tests on x86-64 without AVX, in an emulator that refuses what the CPU lacks, and a look at where the
# library has wider instructions: on_old_x86.sh BUILD PYTHON
set -eu
build=$1
python=$2
here=$(dirname "$0")
scratch=$build/on_old_x86
mkdir -p "$scratch"

"$python" "$here/instructions.py" "$build/libsordino.a"
# A control: a file for AVX2 as a whole, which that look has to refuse.
echo 'void add(float* a, float* b) { for (int i = 0; i < 64; ++i) a[i] += b[i]; }' > "$scratch/control.cpp"
"${CXX:-c++}" -O3 -mavx2 -c "$scratch/control.cpp" -o "$scratch/control.cpp.o"
rm -f "$scratch/control.a"
ar rc "$scratch/control.a" "$scratch/control.cpp.o"
if "$python" "$here/instructions.py" "$scratch/control.a"; then
  echo "a function with AVX2 that nobody dispatches went unseen" >&2
  exit 1
fi

# expect CPU BACKEND: what is chosen there, and that another is refused by name.
expect() {
  chosen=$(qemu-x86_64 -cpu "$1" "$build/tests/cpp/which_backend")
  echo "$1: $chosen"
  [ "$chosen" = "$2" ]
  if refusal=$(SORDINO_CPU=vaes512 qemu-x86_64 -cpu "$1" "$build/tests/cpp/which_backend" 2>&1); then exit 1; fi
  echo "$1: $refusal"
  case $refusal in "SORDINO_CPU: "*"'vaes512'"*) ;; *) exit 1 ;; esac
}
expect qemu64 portable
expect Nehalem portable
expect Westmere aesni
for cpu in qemu64 Westmere; do
  qemu-x86_64 -cpu $cpu "$build/tests/cpp/sordino_tests" --gtest_brief=1
done
