# Every target sets up what it needs: `make quickstart` works on a fresh machine.
SHELL := /bin/bash
# The stack: tf215 (Python 3.11) or tf221 (Python 3.10 to 3.13); by default what the Python at hand allows (docs/installation.md).
STACK ?=
PYTHON ?=
COMMA := ,
VENV ?= $(if $(STACK),.venv-$(STACK),.venv)
BIN := $(VENV)/bin
RUN := TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python
INSTALLED := $(VENV)/.stack

.DEFAULT_GOAL := help
.PHONY: help FORCE setup quickstart digits-seeds test test-slow test-core lint format docs lock bazel-test clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 16

setup: $(INSTALLED)  ## make the virtual environment from the stack's lock; STACK=tf221 or tf215, PYTHON=… choose

# The stamp holds the stack and a digest of what is installed: file times, which a clone or a checkout changes, install nothing.
$(INSTALLED): FORCE
	@set -eu; \
	lock_of() { case $$1 in tf215) echo requirements.lock ;; *) echo requirements-$$1.lock ;; esac; }; \
	digest_of() { echo "$$1" $$({ cat "$$(lock_of $$1)"; sed -n '/^dependencies = \[/,/^\]/p; /^\[project.scripts\]/,/^$$/p' pyproject.toml; } \
	  | { sha256sum 2>/dev/null || shasum -a 256; } | cut -d' ' -f1); }; \
	installed=$$(cat $@ 2>/dev/null || true); stack=$(STACK); stack=$${stack:-$${installed%% *}}; \
	if [ -x $(BIN)/python ] && [ -n "$$stack" ] && [ "$$installed" = "$$(digest_of $$stack)" ]; then exit 0; fi; \
	case "$(STACK)" in \
	  "") versions="3.11 3.13 3.12 3.10" ;; tf215) versions=3.11 ;; tf221) versions="3.13 3.12 3.11 3.10" ;; \
	  *) echo "STACK must be tf215 or tf221. Received: $(STACK)" >&2; exit 2 ;; esac; \
	found=; for version in $$versions; do \
	  for candidate in $(or $(PYTHON),python$$version python3 python $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python); do \
	    if $$candidate -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" 2>/dev/null; then found=$$candidate; break 2; fi; \
	  done; done; \
	if [ -z "$$found" ]; then \
	  needed=$${versions%% *}; [ "$$needed" = 3.11 ] && [ -n "$(STACK)" ] || needed=3.12; \
	  echo "Python of one of these versions is needed: $$versions. $(if $(PYTHON),Received: PYTHON=$(PYTHON)$(COMMA) $$($(PYTHON) --version 2>&1 | head -1),None was found on PATH or in pyenv)" >&2; \
	  echo "Get one with:  pyenv install $$needed  |  uv python install $$needed  |  apt-get install python3 python3-venv (if the distribution has one of these versions)" >&2; exit 1; fi; \
	case "$(STACK):$$version" in \
	  :3.11) stack=tf215; why="STACK=tf221 chooses TensorFlow 2.21" ;; \
	  :*) stack=tf221; why="TensorFlow 2.15 and tensorflow-addons need Python 3.11" ;; \
	  *) stack=$(STACK); why="chosen by STACK=$(STACK)" ;; esac; \
	echo "• stack $$stack in $(VENV), with $$($$found --version); $$why"; rm -f $@; \
	$$found -m venv --clear $(VENV) || { echo "$$found has no venv module: apt-get install python3-venv" >&2; exit 1; }; \
	echo "• installing the locked packages (about 2 GB; one to five minutes)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $$(lock_of $$stack); \
	echo "• installing semppl itself, editable"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	digest_of $$stack > $@
FORCE:

quickstart: $(INSTALLED)  ## train, compare, map, export, embed: minutes on a CPU
	@$(RUN) -m semppl.experiments.quickstart --workdir=outputs/quickstart

digits-seeds: $(INSTALLED)  ## the quickstart's comparison over five seeds (docs/results.md)
	@$(RUN) -m semppl.experiments.quickstart --workdir=outputs/digits-seeds --seeds=0,1,2,3,4

test: $(INSTALLED)  ## the tests, without the slow ones
	@$(RUN) -m pytest -n 2 --dist worksteal -m "not slow" -q

test-slow: $(INSTALLED)  ## the tests that take minutes each
	@SEMPPL_SLOW=1 $(RUN) -m pytest -m slow -v

CORE := tests/losses tests/layers/*_test.py tests/layers/blocks tests/stacks tests/end_to_end_test.py
test-core: $(INSTALLED)  ## the tests of what TensorFlow computes, for the stack that CI does not test in full
	@$(RUN) -m pytest -n 2 --dist worksteal -m "not slow" -q $(CORE)

lint: $(INSTALLED)  ## ruff check, ruff format --check, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)  ## let ruff rewrite
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(INSTALLED)  ## build the documentation into build/site; a dead link fails
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

LOCKED := --generate-hashes --no-emit-index-url --no-emit-find-links --no-header

lock:  ## resolve requirements*.in into the lock of each stack (needs uv)
	uv pip compile requirements.in --python-version 3.11 $(LOCKED) -o requirements.lock
	uv pip compile requirements-tf221.in --universal --python-version 3.10 $(LOCKED) -o requirements-tf221.lock

bazel-test: $(INSTALLED)  ## build and test with Bazel (Debian's bazel-bootstrap, no network)
	@bazel/test $(BIN)/python

clean:  ## remove the virtual environment and every cache
	rm -rf .venv .venv-tf215 .venv-tf221 .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
