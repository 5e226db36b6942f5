# SPDX-License-Identifier: Apache-2.0

# make demo     two whole studies in one process: seven hospitals' diagnoses, 18 institutions' survival
# make test     the test suite
# make statistics  the samplers' laws over 10^8 samples a sigma (some minutes); SAMPLES=... for another number
# make audit-demo  the demonstration's study, run and attacked; its report is build/audit-demo/run/report.html
# make docs     the documentation as a site in build/docs/html, which asks no other host for anything
# make long     what is too long for the suite: 10^9 values in bounded memory (16 GB of disk, 8 GB of memory),
#               and divergences on a wide grid
# make crash    a study under a budget, killed 250 times; a part of make long
# make check    linters, types, import contracts, C++ format and analysis, a build with warnings as errors
# make consumer build the C++ library without Python, install it under build/, and use it from another project
# make nvflare-demo  a server and five clients of NVFlare on this machine, one of which is killed
# make notebooks DATA=...  execute docs/notebooks anew, over a folder with the data of their three studies
# make wheel    build, repair, install and try the wheel with every Python of PYTHONS that is here, from the sdist, twice
# make sdist    unpack the sdist in an empty folder and run the whole suite there; TARGET=... for another target
# make sbom     a bill of materials (CycloneDX) of the wheel that `make wheel` left, into build/sbom
# make bench    every script of bench/ beside its peers, in .venv-bench; ONLY="masking shamir" runs these two
# make bench-table  the same into bench/seen, and from there into the tables of bench/README.md and
#               docs/comparison.md; OPTIONS="--repeats 9" is handed on; ONLY=none only writes the tables
# make engines  the tests of the adapters, in .venv-engines with Flower, NVFlare and TenSEAL
# make flower-large  10^8 parameters through Flower, a process a site, memory bounded (8 GB); PARAMETERS=...
# make flower-demo  a SuperLink and six SuperNodes on this machine, two of which are killed
# make native   the C++ library under sanitizers, valgrind and emulators, short: tests/native.mk has the targets
# make format   rewrite sources in the project's format
# make .venv    only the environment in .venv; edits of Python files take effect at once, and after edits of
#               C++ files any of these targets builds what has changed
# make clean    forget .venv, .venv-bench, .venv-engines and build
#
# Needs Python 3.11 or newer with headers and venv, a C++20 compiler and make; the rest comes through pip.

PYTHON ?= python3
WORKERS ?= 2
PYTHONS ?= python3.11 python3.12 python3.13 python3.14

bin := .venv/bin
pip := $(bin)/python -m pip --disable-pip-version-check --quiet
bench_pip := .venv-bench/bin/python -m pip --disable-pip-version-check --quiet
engines_pip := .venv-engines/bin/python -m pip --disable-pip-version-check --quiet
native := CMakeLists.txt $(shell find cpp -type f)
package := $(shell find python -name '*.py' -o -name '*.pyi')
benches := $(filter-out harness table,$(patsubst bench/%.py,%,$(wildcard bench/*.py)))
programs := $(wildcard tests/cpp/*.[ch]pp tests/fuzz/*.[ch]pp examples/cpp-consumer/*.cpp)
cxx := $(filter %.cpp %.hpp,$(native)) $(programs)
sources := $(filter cpp/src/%.cpp,$(native))
headed = $(shell git ls-files --cached --others --exclude-standard '*.py' '*.pyi' '*.cpp' '*.hpp' '*.sh' '*.mk')

# $(call listed,EXPRESSION): requirements out of pyproject.toml, for `pip install --requirement`.
listed = $(bin)/python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb')); \
  print(*($(1)), sep='\n')"

# A comma inside an argument of a call is $(,).
, := ,

# $(call configure,FOLDER,OPTIONS): a CMake build with the environment's own tools.
configure = $(bin)/cmake -S $(if $(3),$(3),.) -B $(1) -G Ninja --log-level=WARNING \
  -DCMAKE_MAKE_PROGRAM=$(abspath $(bin))/ninja $(2)

.PHONY: audit-demo demo docs test statistics long crash check consumer bench bench-table engines flower-demo \
  flower-large nvflare-demo notebooks sbom sdist wheel format clean .venv

.venv: .venv/.base

# The build backend stays in .venv, so that a rebuild compiles only what has changed.
.venv/.tools: pyproject.toml
	@test -x $(bin)/python || $(PYTHON) -m venv .venv
	@$(call listed,p['build-system']['requires']) > .venv/tools.txt
	$(pip) install --requirement .venv/tools.txt 'cmake>=3.26' ninja
	@touch $@

.venv/.base: .venv/.tools $(native)
	$(pip) install --no-build-isolation --editable .
	@touch $@

.venv/.demo .venv/.dev .venv/.docs .venv/.notebooks .venv/.radiomics .venv/.test .venv/.wheel: .venv/.%: .venv/.tools
	@$(call listed,p['project']['optional-dependencies']['$*']) > .venv/$*.txt
	$(pip) install --requirement .venv/$*.txt
	@touch $@

demo: .venv/.base .venv/.demo
	$(bin)/sordino demo

audit-demo: .venv/.base .venv/.demo
	rm -rf build/audit-demo && mkdir -p build/audit-demo
	$(bin)/python -c "import sys; from pathlib import Path; \
	  from sordino.federated.study.demonstration import write_demonstration; \
	  write_demonstration(Path(sys.argv[1]))" build/audit-demo
	$(bin)/sordino run build/audit-demo/study.toml --out build/audit-demo/run
	$(bin)/sordino audit build/audit-demo/study.toml --public --out build/audit-demo/run
	$(bin)/sordino report build/audit-demo/run

docs: .venv/.base .venv/.docs
	$(bin)/python docs/site/build.py
	@echo "the documentation is in build/docs/html: open index.html"

notebooks: .venv/.base .venv/.notebooks
	$(bin)/python docs/notebooks/execute.py --data "$(or $(DATA),$(SORDINO_SHARED_DATA))" $(ONLY)

test: .venv/.base .venv/.test .venv/.demo .venv/.radiomics
	$(bin)/python -m pytest --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder

statistics: .venv/.base .venv/.test
	SORDINO_SAMPLES=$(or $(SAMPLES),100000000) $(bin)/python -m pytest --numprocesses $(WORKERS) --durations 5 \
	  tests/statistical

long: .venv/.base .venv/.test crash
	SORDINO_LONG=1 $(bin)/python -m pytest -s -k bounded tests/unit/core/test_write_upload.py
	SORDINO_LONG=1 $(bin)/python -m pytest tests/unit/privacy/test_divergences.py
	SORDINO_LONG=1 $(bin)/python -m pytest tests/statistical/test_distinguishing.py

crash: .venv/.base .venv/.test
	SORDINO_LONG=1 $(bin)/python -m pytest tests/adversarial/test_budget_crashes.py

check: .venv/.base .venv/.test .venv/.dev .venv/.demo .venv/.radiomics build/.tidied consumer
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports
	$(bin)/clang-format --dry-run -Werror $(cxx)
	$(bin)/reuse lint --lines
	$(bin)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

build/.werror: $(native) $(programs) tests/cpp/CMakeLists.txt .venv/.tools
	$(call configure,build/werror,-DSORDINO_WERROR=ON -DSORDINO_TESTS=ON -DSORDINO_PYTHON=ON \
	  -DPython_EXECUTABLE=$(abspath $(bin))/python \
	  -Dpybind11_DIR=$$($(bin)/python -m pybind11 --cmakedir))
	$(bin)/cmake --build build/werror
	$(bin)/ctest --test-dir build/werror --output-on-failure
	@touch $@

build/.tidied: build/.werror .clang-tidy .venv/.dev
	$(bin)/clang-tidy -p build/werror --quiet $(sources)
	@touch $@

consumer: .venv/.tools
	$(call configure,build/library,-DCMAKE_INSTALL_PREFIX=$(CURDIR)/build/installed)
	$(bin)/cmake --build build/library
	rm -rf build/installed
	$(bin)/cmake --install build/library --component development > build/library/installed.txt
	$(call configure,build/consumer,-DCMAKE_PREFIX_PATH=$(CURDIR)/build/installed,examples/cpp-consumer)
	$(bin)/cmake --build build/consumer
	build/consumer/secure_sum
	tests/cpp/installed.sh $(CURDIR)/build/installed $(abspath $(bin))/cmake
	@if command -v pkg-config > build/consumer/found; then set -ex; \
	  export PKG_CONFIG_PATH="$$(dirname "$$(find build/installed -name sordino.pc)")"; \
	  $${CXX:-c++} -std=c++20 examples/cpp-consumer/main.cpp $$(pkg-config --cflags --libs sordino) \
	    -o build/consumer/by_pkg_config; \
	  build/consumer/by_pkg_config; \
	else echo "consumer: pkg-config is not here, so its file was not tried"; fi

bench: .venv-bench/.sordino
	@code=0; for name in $(or $(ONLY),$(benches)); do \
	  echo "== bench/$$name.py"; \
	  FLWR_TELEMETRY_ENABLED=0 MPLBACKEND=Agg .venv-bench/bin/python bench/$$name.py || code=1; \
	  echo; \
	done; exit $$code

bench-table: .venv-bench/.sordino
	@mkdir -p bench/seen; code=0; for name in $(filter-out none,$(or $(ONLY),$(benches))); do \
	  echo "== bench/$$name.py"; \
	  FLWR_TELEMETRY_ENABLED=0 MPLBACKEND=Agg .venv-bench/bin/python bench/$$name.py --json $(OPTIONS) \
	    > .venv-bench/$$name.json && mv .venv-bench/$$name.json bench/seen || code=1; \
	done; .venv-bench/bin/python bench/table.py || code=1; exit $$code

# The peers pin what sordino leaves open, so they have an environment of their own; Fed-BioMed, whose needs are
# larger than all others' and not used, lies beside it without them.
.venv-bench/.peers: .venv/.tools
	@test -x .venv-bench/bin/python || $(bin)/python -m venv .venv-bench
	@$(call listed,p['project']['dependencies'] + p['project']['optional-dependencies']['bench']) \
	  > .venv-bench/peers.txt
	$(bench_pip) install --requirement .venv-bench/peers.txt
	$(bench_pip) install --no-deps --upgrade --target .venv-bench/fedbiomed \
	  'fedbiomed==6.4.*; python_version < "3.12"' 'gmpy2>=2.1'
	@touch $@

.venv-bench/.sordino: .venv-bench/.peers .venv/.base $(package)
	rm -rf .venv-bench/wheel
	$(pip) wheel --no-build-isolation --no-deps --wheel-dir .venv-bench/wheel .
	$(bench_pip) install --force-reinstall --no-deps .venv-bench/wheel/*.whl
	$(bench_pip) check
	@touch $@

engines: .venv-engines/.sordino
	FLWR_TELEMETRY_ENABLED=0 .venv-engines/bin/python -m pytest --numprocesses $(WORKERS) --dist loadscope \
	  --durations 5 tests/engines

flower-large: .venv-engines/.sordino
	FLWR_TELEMETRY_ENABLED=0 SORDINO_PARAMETERS=$(or $(PARAMETERS),1e8) .venv-engines/bin/python -m pytest \
	  tests/engines/test_flower_large.py

flower-demo: .venv-engines/.sordino
	.venv-engines/bin/python -u examples/flower-app/demo.py $(if $(DATA),--data $(DATA))

nvflare-demo: .venv-engines/.sordino
	cd examples/nvflare-job && ../../.venv-engines/bin/python -u demo.py

# Engines pin what sordino leaves open, which also tries it at the lower end of its ranges.
.venv-engines/.engines: .venv/.tools
	@test -x .venv-engines/bin/python || $(bin)/python -m venv .venv-engines
	@$(call listed,p['project']['dependencies'] + sum(map(p['project']['optional-dependencies'].get$(,) \
	  'ckks flower nvflare test'.split())$(,) [])) > .venv-engines/engines.txt
	$(engines_pip) install --requirement .venv-engines/engines.txt
	@touch $@

.venv-engines/.sordino: .venv-engines/.engines .venv/.base $(package)
	rm -rf .venv-engines/wheel
	$(pip) wheel --no-build-isolation --no-deps --wheel-dir .venv-engines/wheel .
	$(engines_pip) install --force-reinstall --no-deps .venv-engines/wheel/*.whl
	$(engines_pip) check
	@touch $@

wheel: .venv/.wheel .venv/.dev .venv/.test .venv/.base
	QUICK="$(QUICK)" $(bin)/python tests/wheels/build.py $(PYTHONS)
	$(bin)/python -m pytest --quiet tests/unit/core/test_wheel.py

sdist: .venv/.tools
	rm -rf build/sdist
	$(bin)/python -c "from scikit_build_core.build import build_sdist; build_sdist('build/sdist')"
	place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && \
	  tar -xzf build/sdist/*.tar.gz -C "$$place" --strip-components=1 && \
	  $(MAKE) -C "$$place" $(or $(TARGET),test)

sbom: .venv/.wheel
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} $(bin)/python tests/wheels/sbom.py \
	  "$$(ls build/wheels/dist/*.whl | tail -1)" build/sbom/sordino.cdx.json

format: .venv/.dev
	$(bin)/reuse annotate --license Apache-2.0 --skip-existing $(headed)
	$(bin)/ruff check --fix-only .
	$(bin)/ruff format .
	$(bin)/clang-format -i $(cxx)

include tests/native.mk

clean:
	rm -rf .venv .venv-bench .venv-engines build
