# Everything that is done with this repository is a target here; `make` lists them.
#
#   make test VERSIONS=3.13          only some of the Pythons that were found
#   make test PYTHONS=3.13=/usr/bin/python3.13    these, without looking for any
#   make bench PYTHON=3.14           the benchmarks on that version

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

# Only targets that need a Python look for one.
WITHOUT_PYTHON := help clean need-rust test-rust docs python-3.14
ifneq ($(filter-out $(WITHOUT_PYTHON),$(MAKECMDGOALS)),)
ifeq ($(origin PYTHONS),undefined)
PYTHONS := $(shell scripts/find_pythons.sh)
ifeq ($(PYTHONS),)
$(error no usable Python, see above)
endif
endif
export PYTHONS
VERSIONS ?= $(foreach python,$(PYTHONS),$(firstword $(subst =, ,$(python))))
NEWEST := $(firstword $(VERSIONS))
# What differs little from version to version runs on the newest and the oldest.
ENDS := $(sort $(NEWEST) $(lastword $(VERSIONS)))
# What is measured, or run on one version alone: the same one as the last time, to be comparable.
PYTHON ?= $(or $(filter 3.13,$(VERSIONS)),$(NEWEST))
python_of = $(patsubst $(1)=%,%,$(filter $(1)=%,$(PYTHONS)))
$(foreach version,$(VERSIONS),$(if $(call python_of,$(version)),,$(error Python $(version) was not found)))
endif

NIGHTLY = $(shell cargo +nightly --version 2>/dev/null)
REQUIREMENTS := $(wildcard requirements/*.txt)
SOURCES := $(shell find crates python -type f '(' -name '*.rs' -o -name '*.html' -o -name '*.css' -o -name '*.js' -o -name '*.toml' -o -name '*.py' -o -name '*.pyi' -o -name py.typed ')') \
	Cargo.toml Cargo.lock pyproject.toml
ENVIRONMENTS := $(VERSIONS:%=.venv/%/requirements.stamp)
WHEELS := $(VERSIONS:%=.venv/%/wheel.stamp)
PROCESSORS := $(shell nproc)
RUN_JOBS = .venv/tools/bin/python scripts/run_jobs.py --at-once $(PROCESSORS)
RUN_ALONE = .venv/tools/bin/python scripts/run_jobs.py --at-once 1
# Tests wait for clocks and for one another more than half of their time.
RUN_TESTS = .venv/tools/bin/python scripts/run_jobs.py --at-once $$((2 * $(PROCESSORS)))

##@ To begin with
.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9.-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

.PHONY: python-3.14
python-3.14: ## Make a CPython 3.14 in build/ out of Debian's packages (downloads 40 MB, needs no root): the other targets use it
	@scripts/make_python_3_14.sh

.PHONY: setup
setup: say-pythons .venv/tools/requirements.stamp $(ENVIRONMENTS) ## Make the environments in .venv, one for each Python from 3.11 to 3.14

.PHONY: build
build: need-rust say-pythons .venv/tools/requirements.stamp $(WHEELS) ## Build ferrio for each of these Pythons and install it in their environments

.PHONY: demo
demo: VERSIONS := $(PYTHON)
demo: need-rust say-pythons .venv/$(PYTHON)/wheel.stamp ## Run a FastAPI service on asyncio and on ferrio, check every answer, compare
	@PYTHONPATH=scripts .venv/$(PYTHON)/bin/python -m demo

##@ Tests
.PHONY: test
test: build ## Run all tests: Rust, Python on every version, CPython's own suite
	@scripts/need_cpython_tests.sh $(foreach version,$(VERSIONS),$(call python_of,$(version)))
	@$(RUN_ALONE) $(foreach version,$(VERSIONS),causes-$(version) '$(call CAUSES_TESTS,$(version))')
	@$(RUN_TESTS) rust '$(RUST_TESTS)' \
		$(foreach version,$(VERSIONS),python-$(version) '$(call PYTHON_TESTS,$(version))') \
		$(foreach version,$(VERSIONS),conformance-$(version) '$(call CONFORMANCE,$(version)) --jobs 1') \
		$(foreach version,$(VERSIONS),installed-$(version) '$(call CONFORMANCE,$(version)) --jobs 1 --loop installed') \
		benchmark-harness '$(call PYTEST,$(NEWEST),benchmarks) benchmarks' \
		apps-harness '$(call PYTEST,$(NEWEST),apps) tests/apps/test_apps_runner.py'

.PHONY: test-rust
test-rust: need-rust ## Run the Rust tests and the examples in the documentation
	@$(RUST_TESTS)

.PHONY: test-python
test-python: build ## Run the Python tests, on every version
	@$(RUN_ALONE) $(foreach version,$(VERSIONS),causes-$(version) '$(call CAUSES_TESTS,$(version))')
	@$(RUN_TESTS) $(foreach version,$(VERSIONS),python-$(version) '$(call PYTHON_TESTS,$(version))')

.PHONY: conformance
conformance: build ## Run CPython's own asyncio tests on ferrio, on every version, without and with install()
	@scripts/need_cpython_tests.sh $(foreach version,$(VERSIONS),$(call python_of,$(version)))
	@$(RUN_TESTS) --show-from 'module ' $(foreach version,$(VERSIONS), \
		conformance-$(version) '$(call CONFORMANCE,$(version)) --jobs 1' \
		installed-$(version) '$(call CONFORMANCE,$(version)) --jobs 1 --loop installed')

.PHONY: test-hard
test-hard: build ## Run what takes longer: leaks, AddressSanitizer (where there is a nightly toolchain), every interleaving (loom), stress
	@scripts/need_cpython_tests.sh $(foreach version,$(VERSIONS),$(call python_of,$(version)))
	@$(if $(NIGHTLY),scripts/build_with_asan.sh $(PYTHON) $(call python_of,$(PYTHON)), \
		echo "No nightly toolchain: AddressSanitizer is left out")
	@$(RUN_TESTS) \
		$(if $(NIGHTLY),asan-python 'scripts/with_asan.sh $(PYTHON) $(call ASAN_PYTHON,$(PYTHON))') \
		$(foreach part,1 2 3,leaks-$(part) 'FERRIO_LEAKS_PART=$(part)/3 $(call LEAKS,$(PYTHON),$(part))') \
		leaks-harness '$(call PYTEST,$(PYTHON),leaks-harness) tests/leaks' \
		$(foreach version,$(VERSIONS),stress-$(version) '$(call STRESS,$(version))') \
		$(foreach version,$(ENDS),memory-$(version) '$(call MEMORY,$(version))') \
		$(if $(NIGHTLY), \
			asan-rust '$(ASAN_RUST)' \
			asan-conformance 'scripts/with_asan.sh $(PYTHON) $(call CONFORMANCE,$(PYTHON)) --jobs 1') \
		loom '$(LOOM)' \
		$(foreach version,$(ENDS),poll-every-turn-$(version) 'FERRIO_POLL_EVERY_TURN=1 $(call CONFORMANCE,$(version)) --jobs 1')

.PHONY: test-web
test-web: VERSIONS := $(PYTHON)
test-web: need-rust say-pythons .venv/$(PYTHON)/wheel.stamp ## Look at the web page in a headless Chromium; what it looks like is kept in build/screenshots
	@scripts/need_chromium.sh
	@.venv/$(PYTHON)/bin/python -m pytest --quiet tests/web

.PHONY: test-apps
test-apps: VERSIONS := $(PYTHON)
test-apps: need-rust say-pythons .venv/$(PYTHON)/wheel.stamp ## Run the test suites of real libraries on asyncio and on ferrio, compare (APPS="aiohttp tornado")
	@scripts/need_servers.sh $(APPS)
	@.venv/$(PYTHON)/bin/python tests/apps/run.py $(APPS)

##@ Checks
.PHONY: lint
lint: build ## Check formatting, types and the lints of both languages
	@$(RUN_JOBS) \
		rustfmt 'cargo fmt --all --check' \
		ruff '.venv/tools/bin/ruff check . && .venv/tools/bin/ruff format --check .' \
		$(foreach version,$(VERSIONS),clippy-$(version) '$(call CLIPPY,$(version))') \
		rustdoc '$(RUSTDOC)' \
		$(foreach version,$(VERSIONS),mypy-$(version) '$(call MYPY,$(version))')

.PHONY: format
format: .venv/tools/requirements.stamp ## Format the sources of both languages
	cargo fmt --all
	.venv/tools/bin/ruff format .
	.venv/tools/bin/ruff check --fix .

##@ More
.PHONY: bench
bench: need-rust .venv/bench-$(PYTHON)/wheel.stamp ## Compare with asyncio, uvloop and others: CPU time per operation (BENCH="--quick --cases 'echo-*'" PYTHON=3.14)
	@.venv/bench-$(PYTHON)/bin/python benchmarks/run.py $(BENCH)

.PHONY: bench-price
bench-price: need-rust .venv/bench-$(PYTHON)/wheel.stamp ## Measure what it costs that ferrio watches, registers and records (BENCH=--quick)
	@.venv/bench-$(PYTHON)/bin/python benchmarks/run.py --price $(BENCH)

.PHONY: bench-detection
bench-detection: need-rust .venv/bench-$(PYTHON)/wheel.stamp ## See how soon the watchdog names five kinds of blocks (BENCH="--tries 20")
	@.venv/bench-$(PYTHON)/bin/python benchmarks/detection.py $(BENCH)

.PHONY: bench-fairness
bench-fairness: need-rust .venv/bench-$(PYTHON)/wheel.stamp ## See that descriptors, tasks and timers get their turns beside one another (BENCH="--first")
	@.venv/bench-$(PYTHON)/bin/python benchmarks/fairness.py $(BENCH)

.PHONY: bench-healthy
bench-healthy: need-rust .venv/bench-$(PYTHON)/wheel.stamp ## See that the watchdog leaves a loaded service alone on a noisy machine (BENCH="--minutes 2")
	@.venv/bench-$(PYTHON)/bin/python benchmarks/healthy.py $(BENCH)

.PHONY: docs
docs: need-rust ## Build the documentation of the Rust crates
	$(RUSTDOC)
	@echo "See target/doc/ferrio_core/index.html"

.PHONY: wheel
wheel: need-rust say-pythons .venv/tools/requirements.stamp ## Build wheels as they are shipped into dist/, and try each in a new environment
	@$(foreach version,$(VERSIONS),scripts/build_release_wheel.sh $(version) $(call python_of,$(version)) &&) ls dist

.PHONY: wheel-guided
wheel-guided: need-rust say-pythons .venv/tools/requirements.stamp ## The same guided by a profile, which needs the toolchain's llvm-profdata
	@$(foreach version,$(VERSIONS),scripts/build_release_wheel.sh $(version) $(call python_of,$(version)) --profile-guided &&) ls dist

.PHONY: clean
clean: ## Remove environments and everything that was built
	rm -rf .venv build dist target

.PHONY: need-rust
need-rust:
	@scripts/need_rust.sh

.PHONY: say-pythons
say-pythons:
	@printf 'Python %s\n' $(foreach version,$(VERSIONS),'$(version): $(call python_of,$(version))')

# What the targets above run.

# A debug build of its own, so that it does not wait for the others' lock on their directory.
RUST_TESTS = $(if $(shell command -v cargo-nextest), \
		cargo nextest run --retries 1 --workspace --exclude ferrio-py --locked, \
		cargo test --workspace --exclude ferrio-py --locked --all-targets) \
	&& cargo test --workspace --exclude ferrio-py --locked --doc
PYTEST = .venv/$(1)/bin/python scripts/run_pytest.py $(2)
# Tests of why a program comes no further: where others want the processors, too, that is often why.
CAUSES := $(addprefix tests/python/test_,looking_at_threads.py watchdog_causes.py watchdog_example.py)
CAUSES_TESTS = $(call PYTEST,$(1),causes-$(1)) $(CAUSES)
PYTHON_TESTS = $(call PYTEST,$(1),python-$(1)) tests/python tests/demo tests/conformance $(addprefix --ignore ,$(CAUSES))
# Tests of what programs tell of themselves, in time and from outside.
TOLD := $(CAUSES) $(addprefix tests/python/test_,examples.py examples_metrics.py inspect_socket.py live_server.py \
	mistakes.py pytest_plugin.py top.py view_commands.py watchdog.py)
# asyncio is not what is tested here: on one version it shows that the tests are right.
STRESS = $(if $(filter $(NEWEST),$(1)),,FERRIO_TEST_LOOPS=ferrio) $(call PYTEST,$(1),stress-$(1)) tests/stress
# Every test several times over, comparing what is in use. Not those of programs, which are other
# processes, nor those of warnings, which pytest keeps, nor those that wait a second and more for a look.
LEAKS = FERRIO_TEST_LOOPS=ferrio PYTHONPATH=tests/leaks $(call PYTEST,$(1),leaks-$(2)) -p repeat tests/python \
	$(addprefix --ignore ,$(TOLD) $(addprefix tests/python/test_,differential.py fork.py lints.py main_command.py \
		suspected_deadlocks.py))
# Python's allocator checks the bounds of what it has given, and a collection may come anywhere.
MEMORY = FERRIO_TEST_LOOPS=ferrio PYTHONMALLOC=debug FERRIO_TEST_GC_THRESHOLD=1 \
	$(call PYTEST,$(1),memory-$(1)) tests/python $(addprefix --ignore ,$(TOLD))
# Not test_stress_memory.py: the sanitizer keeps what is freed. Nor why a program comes no further: under
# the sanitizer every object that Python code makes is a call of C code that takes longer.
ASAN_PYTHON = env FERRIO_TEST_LOOPS=ferrio $(call PYTEST,$(1),asan-$(1)) tests/python \
	$(addprefix --ignore ,$(CAUSES)) \
	$(addprefix tests/stress/,test_connections.py test_scheduling.py test_stress_threads.py)
LOOM = CARGO_TARGET_DIR=target/loom RUSTFLAGS="--cfg loom" cargo test --locked -p ferrio-core --release --test loom_inject
ASAN_RUST = CARGO_TARGET_DIR=target/asan-rust RUSTFLAGS=-Zsanitizer=address \
	cargo +nightly test --locked -p ferrio-core --tests --target $$(rustc +nightly --version --verbose | sed -n "s/^host: //p")
CONFORMANCE = .venv/$(1)/bin/python tests/conformance/run.py
# The whole workspace for one version; the others only differ in the extension.
CLIPPY = PYO3_PYTHON=$(call python_of,$(1)) CARGO_TARGET_DIR=target/clippy-$(1) cargo clippy --locked \
	$(if $(filter $(NEWEST),$(1)),--workspace,-p ferrio-py) --all-targets -- -D warnings
RUSTDOC = RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --workspace --exclude ferrio-py
MYPY = .venv/$(1)/bin/python -m mypy --strict python/ferrio examples/chat scripts/demo scripts/run_jobs.py scripts/run_pytest.py && .venv/$(1)/bin/python -m mypy.stubtest --allowlist stubtest-allowlist.txt ferrio._ferrio

# Environments. A stamp is newer than what its environment was made from.

.venv/tools/requirements.stamp: $(REQUIREMENTS)
	@scripts/make_environment.sh $(call python_of,$(NEWEST)) .venv/tools tools
	@touch $@

.venv/%/requirements.stamp: $(REQUIREMENTS)
	@scripts/make_environment.sh $(call python_of,$*) .venv/$* test
	@touch $@

.venv/%/wheel.stamp: .venv/%/requirements.stamp .venv/tools/requirements.stamp $(SOURCES)
	@scripts/build_wheel.sh $* $(call python_of,$*)
	@scripts/install_wheel.sh $* .venv/$*
	@touch $@

.venv/bench-%/wheel.stamp: .venv/%/wheel.stamp $(REQUIREMENTS)
	@scripts/make_bench_environment.sh $* $(call python_of,$*)
	@touch $@
