# tokenmill: what people type. Everything lives in .venv and .tokenmill; `make clean` removes what was made.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export DAGSTER_HOME := $(CURDIR)/.tokenmill/dagster
export TOKENMILL_STORE := $(CURDIR)/.tokenmill/store
PORT ?= 3000

.PHONY: demo test test-all test-page check ui bench setup clean

demo: $(READY)            ## set up, build the demo recipe, train on it, say what to look at
	@$(BIN)/python -m demo.run

test: $(READY)            ## the test suite (fast tests; test-all adds the slow ones)
	$(BIN)/python -m pytest -n 2

test-all: $(READY)
	$(BIN)/python -m pytest -n 2 -m ""

check: $(READY)           ## ruff, format, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: $(READY)              ## the Dagster page, on loopback
	@$(BIN)/python -m demo.stage >/dev/null
	@echo "The page: http://127.0.0.1:$(PORT)  (Ctrl-C ends it)"
	@$(BIN)/python -m pipelines.page --port $(PORT)

test-page: $(READY)       ## a stranger at the page: a real browser, the real server; needs chromium and chromium-driver
	$(BIN)/python -m pytest -m slow tests/page/test_a_stranger_at_the_page.py

bench: $(READY)           ## the yardsticks; see benchmarks/README.md
	$(BIN)/python -m benchmarks

setup: $(READY)           ## .venv with the pinned dependencies and this package

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tokenmill needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 2; }
	@echo "Installing the pinned dependencies into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,s3,postgres,dev]'
	@touch $@

clean:
	rm -rf .tokenmill builds runs
