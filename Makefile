# Shortcuts for people. What CI runs is .ci/run; nothing here is needed to use keruta.
.PHONY: setup test test-fast check bench

setup:  ## Set up .venv for work on the code
	sh etc/setup.sh dev

test: setup  ## Run the whole suite
	.venv/bin/pytest

test-fast: setup  ## Run the rings without real processes
	.venv/bin/pytest tests/unit tests/contract tests/guards

check: setup  ## Check style, types and import contracts
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup  ## Measure what small commands cost (see benchmarks/ for the others)
	.venv/bin/python -m benchmarks.small_commands
