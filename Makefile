.DEFAULT_GOAL := help
.PHONY: help env system demo test lint lock clean

BIN := .venv/bin
STAMP := .venv/.installed
UV := .cache/uv/bin/uv

PYTHON ?= $(shell for python in python3.11 python3 python3.14 python3.13 python3.12; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# Windows of a test belong on no one's own screen. Expanded late: `env` may just have installed it.
SCREEN = $(if $(shell command -v xvfb-run),QT_QPA_PLATFORM=xcb xvfb-run -a -s "-screen 0 1600x1000x24")

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

env: $(STAMP)  ## Build .venv from requirements.lock (PYTHON=... picks the interpreter)

$(STAMP): requirements.lock pyproject.toml | system
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $@

system:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make env PYTHON=/path/to/python3"; exit 1; }
	@tools/system_libraries.sh $(PYTHON)

demo: env  ## Start napari with a live demo stream
	$(BIN)/napari-streaming demo

test: env  ## Run the tests on a virtual screen, two at a time (ARGS="-k name" picks some)
	$(SCREEN) $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: env  ## Check style, types and the layering of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: $(UV)  ## Resolve requirements.lock anew (ARGS=--upgrade moves every version)
	$(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
		--extra viewer --extra server --extra demo --extra dask --group dev \
		--custom-compile-command "make lock" --output-file requirements.lock $(ARGS)

$(UV):
	$(PYTHON) -m venv .cache/uv
	.cache/uv/bin/python -m pip install --quiet uv

clean:  ## Remove .venv and everything else that was built
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
