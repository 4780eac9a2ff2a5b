# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
HOME_DIR ?= .jingxi
BIN := .venv/bin
# Bytecode is compiled once, at installation: every start of dbt and Dagster is twice as fast with it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all lint format dev install lock bench clean help

help:  ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q -j 0 .venv/lib orchestration || true
	@touch $@

install: .venv/installed  ## Make .venv with the pinned packages

demo: install  ## Build everything on the sample data and say what was built and where
	$(BIN)/jingxi run --dataset sample --home $(HOME_DIR)

# In the order of the files: the slow ones, which come first, then do not end alone.
test: install  ## All tests but the long ones
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

test-all: install  ## All tests, the long ones too
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: install  ## Linters: Python, types, import directions, SQL, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfmt --check --quiet dbt_project
	$(BIN)/jingxi compile --check

format: install  ## Format Python and SQL
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfmt dbt_project

dev: install  ## Dagster's web UI
	$(BIN)/jingxi dev --home $(HOME_DIR)

bench: install  ## Benchmarks, as ratios measured in one run, into the README
	$(BIN)/python -m tests.benchmarks --write

lock:  ## Pin again (for maintainers; needs uv)
	uv pip compile pyproject.toml --extra dev --python-version 3.11 --generate-hashes --no-strip-extras \
		--no-emit-index-url --no-header --no-annotate --output-file requirements.lock

clean:  ## Remove the environment and caches, not the home
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache *.egg-info
