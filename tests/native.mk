# SPDX-License-Identifier: Apache-2.0

# The native core under sanitizers, fuzzers, valgrind and emulators. Part of Makefile.
#
# make asan     C++ tests, and each fuzzer for a few seconds, with AddressSanitizer and UBSan
# make tsan     C++ tests with ThreadSanitizer
# make memcheck constant time, by valgrind, in what gcc and clang made
# make fuzz     each fuzzer for FUZZ_SECONDS; what it finds is in build/fuzz
# make oldx86   C++ tests on an emulated x86-64 without AVX
# make armv8    C++ tests on an emulated 64-bit ARM, with and without AES instructions
#
# What a target needs beyond a compiler is a Debian package: clang-14 and libclang-rt-14-dev (else the compiler at hand
# with a plain driver for the fuzzers), libgtest-dev, valgrind, qemu-user, g++-aarch64-linux-gnu, googletest.

FUZZ_SECONDS ?= 600

fuzzers := $(patsubst tests/fuzz/%.cpp,%,$(filter-out %/replay.cpp,$(wildcard tests/fuzz/*.cpp)))
clang = $(shell printf 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' | \
  clang++-14 -x c++ -fsanitize=fuzzer,address - -o /dev/null 2> /dev/null && echo clang++-14)

.PHONY: asan tsan memcheck fuzz oldx86 armv8 native

# All but the long one.
native: asan tsan memcheck oldx86 armv8

# $(call need,PROGRAMS,PACKAGES): ends the target well where a program is not here, and badly so in CI.
need = missing=; for program in $(1); do command -v $$program > /dev/null || missing="$$missing $$program"; done; \
  if [ -n "$$missing" ]; then echo "$@: left out, not here:$$missing (Debian: $(2))"; [ -z "$$CI" ]; exit; fi; set -ex

# $(call sanitized,FOLDER,SANITIZERS,OPTIONS): a build of the library, tests and fuzzers.
sanitized = $(call configure,$(1),-DSORDINO_WERROR=ON -DSORDINO_TESTS=ON -DCMAKE_BUILD_TYPE=None $(3) \
  -DCMAKE_CXX_FLAGS="-O1 -g1 -fno-omit-frame-pointer -fno-sanitize-recover=all -fsanitize=$(2)"); \
  $(bin)/cmake --build $(1)

# $(call fuzzed,SECONDS): every fuzzer, from the first inputs and what was found before.
fuzzed = compiler=$(clang); \
  $(call sanitized,build/asan,$${compiler:+fuzzer-no-link$(comma)}address$(comma)undefined,-DSORDINO_FUZZ=ON \
    $${compiler:+-DCMAKE_CXX_COMPILER=$$compiler}); \
  $(bin)/python tests/fuzz/seeds.py build/fuzz; \
  for fuzzer in $(fuzzers); do \
    build/asan/tests/fuzz/fuzz_$$fuzzer build/fuzz/$$fuzzer -max_total_time=$(1) -max_len=8192 \
      $${compiler:+-artifact_prefix=build/fuzz/$$fuzzer- -verbosity=0 -print_final_stats=1} \
      > build/fuzz/$$fuzzer.txt 2>&1 || { tail -n 40 build/fuzz/$$fuzzer.txt; exit 1; }; \
    grep -hE 'executed_units|replayed' build/fuzz/$$fuzzer.txt; \
  done
comma := ,

asan: .venv/.tools
	@set -ex; $(call fuzzed,3); build/asan/tests/cpp/sordino_tests --gtest_brief=1

fuzz: .venv/.tools
	@set -ex; $(call fuzzed,$(FUZZ_SECONDS))

# Without it the sanitizer finds no room for its shadow memory where the kernel spreads addresses widely.
fixed_addresses = $(shell setarch --addr-no-randomize true 2> /dev/null && echo setarch --addr-no-randomize)

tsan: .venv/.tools
	@set -ex; compiler=$(clang); \
	$(call sanitized,build/tsan,thread,$${compiler:+-DCMAKE_CXX_COMPILER=$$compiler}); \
	$(fixed_addresses) build/tsan/tests/cpp/sordino_tests --gtest_brief=1

memcheck: build/.werror
	@$(call need,valgrind,valgrind); \
	$(bin)/ctest --test-dir build/werror --output-on-failure --tests-regex 'constant|leaky'; \
	compiler=$(clang); [ -n "$$compiler" ] || exit 0; \
	$(call configure,build/memcheck,-DSORDINO_WERROR=ON -DSORDINO_TESTS=ON -DCMAKE_CXX_COMPILER=$$compiler); \
	$(bin)/cmake --build build/memcheck --target constant_time leaky_branch leaky_address; \
	$(bin)/ctest --test-dir build/memcheck --output-on-failure --tests-regex 'constant|leaky'

oldx86: build/.werror
	@$(call need,qemu-x86_64 objdump,qemu-user binutils); \
	tests/cpp/on_old_x86.sh build/werror $(bin)/python

armv8: .venv/.tools
	@$(call need,aarch64-linux-gnu-g++ qemu-aarch64,g++-aarch64-linux-gnu qemu-user googletest); \
	$(call configure,build/armv8,-DSORDINO_WERROR=ON -DSORDINO_TESTS=ON -Wno-deprecated \
	  -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/cpp/cmake/aarch64.toolchain.cmake); \
	$(bin)/cmake --build build/armv8; \
	tests/cpp/on_arm.sh build/armv8 $(bin)/python
