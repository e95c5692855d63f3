# Everything a bare machine needs is Python 3.11+, pip and make; `make demo` and `make test` do the rest.

PYTHON ?= python3
SEEDS  ?= 50
SLICES ?= 1000
KILLS  ?= 500
N      ?= 100000
SEED   ?= 0
TARGET ?=
PAGE   ?=
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# The pure core to its last branch; coverage fails below what pyproject.toml says.
CORE_TESTS = $(BIN)/python -m pytest -q -n 2 --dist loadfile tests/unit tests/property --cov --cov-branch
PIPOPT := --disable-pip-version-check --no-input --quiet

.DEFAULT_GOAL := help
.PHONY: help venv demo test check lint bench big-files switches breakages simulate crash-ring chaos fuzz docs format constraints clean

help:
	@echo "make demo        export a generated logstore from the embedded emulator: no account, no network"
	@echo "make test        the whole suite"
	@echo "make lint        what needs no test run: style, types, layer law, docs up to date"
	@echo "make check       lint, types, layer law, full branch coverage of the core, docs up to date"
	@echo "make simulate    the engine under a virtual clock and faults, SEEDS=$(SEEDS)"
	@echo "make chaos       KILLS=$(KILLS) kill -9 across SLICES=$(SLICES) slices of a hostile service, over HTTP; SEED=number"
	@echo "make fuzz        N=$(N) inputs for every reader of foreign bytes; TARGET=name SEED=number replay one"
	@echo "make crash-ring  an export that dies at every durable boundary, and loses power at every write"
	@echo "make breakages   a copy of the program broken on purpose: each time a ring of tests must turn red"
	@echo "make switches    every undocumented behaviour of the service, alone and in every pair"
	@echo "make bench       every benchmark, each with its peer or limit beside ours; PAGE=docs/performance.md keeps it"
	@echo "make big-files   files of five gigabytes through the installed command; needs six of disk and minutes"
	@echo "make docs        write the generated pages of docs/ anew"
	@echo "make format      let ruff lay the code out"
	@echo "make clean       remove what these targets made, $(VENV) too"

venv: $(STAMP)

# Three machines meet here: one with ensurepip, one without it (Debian without python3-venv), and one whose pip
# belongs to another interpreter. The last two install through `pip --python`, which pip knows since 22.3.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which with: make PYTHON=python3.11" >&2; exit 1; }
	@if ! $(BIN)/python -c '' 2>/dev/null; then \
	  rm -rf $(VENV); \
	  $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || \
	    { rm -rf $(VENV); $(PYTHON) -m venv --without-pip $(VENV); }; \
	fi
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then pip="$(BIN)/python -m pip"; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then pip="$(PYTHON) -m pip --python $(BIN)/python"; \
	elif pip3 --version >/dev/null 2>&1; then pip="pip3 --python $(BIN)/python"; \
	elif pip --version >/dev/null 2>&1; then pip="pip --python $(BIN)/python"; \
	else echo "pip is needed (22.3 or newer): python3-pip on Debian" >&2; exit 1; fi; \
	echo "installing into $(VENV)"; \
	$$pip install $(PIPOPT) -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/orchestrator demo

# Three at a time on two processors: what runs over HTTP spends much of its time waiting.
test: $(STAMP)
	$(CORE_TESTS)
	$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder --ignore=tests/unit --ignore=tests/property

check: lint
	$(CORE_TESTS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict orchestrator docs/generate.py benchmarks
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

# Every boundary of every story and many pairs of deaths: some minutes. `make test` takes one of each kind.
crash-ring: $(STAMP)
	RING=whole $(BIN)/python -m pytest -q -n 2 tests/crash

# The peers are installed once; what cannot be installed is said to be missing, and the rest goes on.
bench: $(STAMP)
	-$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks $(addprefix --markdown ,$(PAGE))

simulate: $(STAMP)
	$(BIN)/python -m orchestrator.testing.simulate --seeds $(SEEDS)

chaos: $(STAMP)
	$(BIN)/python -m orchestrator.testing.chaos --slices $(SLICES) --kills $(KILLS) --seed $(SEED)

fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz --inputs $(N) --seed $(SEED) $(addprefix --target ,$(TARGET))

big-files: $(STAMP)
	BIG_FILES=1 $(BIN)/python -m pytest -q tests/e2e/test_big_files.py

breakages: $(STAMP)
	$(BIN)/python -m tests.breakage

switches: $(STAMP)
	EVERY_PAIR=1 $(BIN)/python -m pytest -q -n 2 tests/simulation/test_switches.py \
	  tests/simulation/test_switches_in_process.py tests/simulation/test_switch_pairs.py

docs: $(STAMP)
	$(BIN)/python docs/generate.py

format: $(STAMP)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

# What is installed now becomes what is tested: run the whole suite first.
constraints: $(STAMP)
	@sed -n '/^#/p' constraints.txt > constraints.new
	@$(BIN)/python -c 'import importlib.metadata as m; print("\n".join(sorted({f"{d.name}=={d.version}" \
	  for d in m.distributions() if d.name.lower() not in ("pip", "setuptools", "orchestrator")}, key=str.lower)))' \
	  >> constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) benchmarks/peers/.venv build dist *.egg-info .coverage .coverage.* .hypothesis \
	  .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
