# Every target sets up what it needs: `make quickstart` works on a fresh machine.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
RUN := TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help FORCE setup quickstart digits-seeds test test-slow lint format docs lock bazel-test clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 16

setup: $(INSTALLED)  ## make the virtual environment from requirements.lock

# The stamp holds a digest of what is installed: file times, which a clone or a checkout changes, install nothing.
$(INSTALLED): FORCE
	@set -eu; digest=$$({ cat requirements.lock; sed -n '/^dependencies = \[/,/^\]/p; /^\[project.scripts\]/,/^$$/p' pyproject.toml; } \
	  | { sha256sum 2>/dev/null || shasum -a 256; } | cut -d' ' -f1); \
	if [ -x $(BIN)/python ] && [ "$$(cat $@ 2>/dev/null)" = "$$digest" ]; then exit 0; fi; \
	is_3_11='import sys; sys.exit(sys.version_info[:2] != (3, 11))'; \
	found=; for candidate in python3.11 python3 python; do \
	  if $$candidate -c "$$is_3_11" 2>/dev/null; then found=$$candidate; break; fi; done; \
	if [ -z "$$found" ]; then \
	  echo "Python 3.11 is needed (TensorFlow 2.15 has no later build) and was not found on PATH." >&2; \
	  echo "Get it with one of:  apt-get install python3.11 python3.11-venv  |  pyenv install 3.11  |  uv python install 3.11" >&2; exit 1; fi; \
	echo "• virtual environment in $(VENV), with $$($$found --version)"; rm -f $@; \
	$$found -m venv --clear $(VENV) || { echo "python3.11 has no venv module: apt-get install python3.11-venv" >&2; exit 1; }; \
	echo "• installing the locked packages (about 2 GB; a minute or two)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; \
	echo "• installing semppl itself, editable"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	echo "$$digest" > $@
FORCE:

quickstart: $(INSTALLED)  ## train, compare, map, export, embed: minutes on a CPU
	@$(RUN) -m semppl.experiments.quickstart --workdir=outputs/quickstart

digits-seeds: $(INSTALLED)  ## the quickstart's comparison over five seeds (docs/results.md)
	@$(RUN) -m semppl.experiments.quickstart --workdir=outputs/digits-seeds --seeds=0,1,2,3,4

test: $(INSTALLED)  ## the tests, without the slow ones
	@$(RUN) -m pytest -n 2 --dist worksteal -m "not slow" -q

test-slow: $(INSTALLED)  ## the tests that take minutes each
	@SEMPPL_SLOW=1 $(RUN) -m pytest -m slow -v

lint: $(INSTALLED)  ## ruff check, ruff format --check, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)  ## let ruff rewrite
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(INSTALLED)  ## build the documentation into build/site; a dead link fails
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

lock:  ## resolve requirements.in into requirements.lock (needs uv)
	uv pip compile requirements.in --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -o requirements.lock

bazel-test: $(INSTALLED)  ## build and test with Bazel (Debian's bazel-bootstrap, no network)
	@bazel/test $(BIN)/python

clean:  ## remove the virtual environment and every cache
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
