# make demo   its own .venv, the installation, the suite `mobilenet` on the embedded data set, the report
# make test   its own .venv, the installation, the tests but the slow ones (some 9 minutes on two cores)
# make test-all  the slow tests too, as CI runs them
# make lint   ruff and mypy, as CI runs them
# make fuzz   2,200 hostile inputs (tests/fuzz), some 20 minutes on two cores; SEED=2 makes others

PYTHON ?= python3
SEED ?= 1
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

# Whole files go to a worker, in the order of tests/conftest.py. Half of a test's time may be waiting: three workers keep
# two cores busy.
PYTEST = $(BIN)/python -m pytest -n $(shell echo $$(( ($$(nproc 2>/dev/null || echo 2) * 3 + 1) / 2 ))) --dist loadfile \
	--no-loadscope-reorder

.PHONY: demo test test-all lint fuzz clean

demo: $(VENV)/.installed
	$(BIN)/drbench run suite mobilenet --regions 8
	$(BIN)/drbench report --latest

test: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.installed-dev
	$(PYTEST)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m tests.fuzz --cases 2200 --seed $(SEED)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "drbench needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version 2>&1`. Try: make PYTHON=python3.12 demo"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing drbench into $(VENV) (torch is large: a few minutes, several GB)"
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing drbench and its development tools into $(VENV) (torch is large: a few minutes, several GB)"
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info
