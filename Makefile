# make demo     the whole study in one process
# make test     the test suite
# make check    linters, types, import contracts, C++ format, a build with warnings as errors
# make format   rewrite sources in the project's format
# make .venv    only the environment in .venv; edits of Python files take effect at once, and after edits of
#               C++ files run it again: it rebuilds what its stamp is older than
# make clean    forget .venv and build
#
# Needs Python 3.11 or newer with headers and venv, a C++20 compiler and make; the rest comes through pip.

PYTHON ?= python3
WORKERS ?= 2

bin := .venv/bin
native := pyproject.toml CMakeLists.txt $(shell find cpp -type f)
cxx := $(shell find cpp -name '*.cpp' -o -name '*.hpp')

.PHONY: demo test check format clean .venv

.venv: .venv/.base

# Each stamp installs the package too: the sources may have changed since the other one was made.
.venv/.base: $(native)
	@test -x $(bin)/python || $(PYTHON) -m venv .venv
	$(bin)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/.test: .venv/.base
	$(bin)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

.venv/.dev: .venv/.base
	$(bin)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	@touch $@

demo: .venv/.base
	$(bin)/sordino demo

test: .venv/.test
	$(bin)/python -m pytest --numprocesses $(WORKERS)

check: .venv/.dev
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports
	$(bin)/clang-format --dry-run -Werror $(cxx)
	$(bin)/cmake -S . -B build/check -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(bin))/ninja \
	  -DSORDINO_WERROR=ON -DSORDINO_PYTHON=ON -DPython_EXECUTABLE=$(abspath $(bin))/python \
	  -Dpybind11_DIR=$$($(bin)/python -m pybind11 --cmakedir) --log-level=WARNING
	$(bin)/cmake --build build/check -- --quiet

format: .venv/.dev
	$(bin)/ruff check --fix-only .
	$(bin)/ruff format .
	$(bin)/clang-format -i $(cxx)

clean:
	rm -rf .venv build
