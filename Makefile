# make demo   a recorded incident, diagnosed with no server      make test   everything, real servers included
# make lint   ruff, mypy, import-linter                          make deps   PostgreSQL, Redis, Prometheus, Java, Kafka
# make bench  speed beside peers, as ratios                      make proof  the full counts (SUITE=… for one part)
# make lab    real local servers to practise on                  make clean  remove what these made here
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUITE ?=
IN_CONTAINER := $(shell { [ -f /.dockerenv ] || [ -f /run/.containerenv ] || systemd-detect-virt -qc; } 2>/dev/null && echo yes)

.PHONY: demo test lint deps proof bench lab clean python
.DEFAULT_GOAL := demo

demo: $(VENV)/.diag
	$(BIN)/diag demo

python:
	@command -v $(PYTHON) >/dev/null || { echo "Python is missing. Debian, Ubuntu: apt install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$($(PYTHON) --version) is too old: diag needs 3.11 or later (make PYTHON=python3.12 …)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "Python's venv is missing. Debian, Ubuntu: apt install python3-venv"; exit 1; }

$(BIN)/pip: | python
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade -c constraints.txt pip

$(VENV)/.diag: pyproject.toml constraints.txt | $(BIN)/pip
	@$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.test: $(VENV)/.diag
	@$(BIN)/pip install --quiet -c constraints.txt --group test
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	@$(BIN)/pip install --quiet -c constraints.txt --group lint
	@touch $@

# In CI, and as root in a container, the servers are installed; elsewhere the person is told how,
# and what can run runs: tests that need a missing server are skipped by name.
test: $(VENV)/.test
	@if [ "$$CI" = true ] || { [ "$$(id -u)" = 0 ] && [ "$(IN_CONTAINER)" = yes ]; }; then \
		PYTHON=$(BIN)/python .ci/deps; \
	else \
		PYTHON=$(BIN)/python .ci/deps --check || echo "Some servers are missing: run 'make deps' to install them. Testing the rest."; \
	fi
	$(BIN)/python -m pytest

deps: $(VENV)/.diag
	PYTHON=$(BIN)/python .ci/deps

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/diag runbook lint

proof: $(VENV)/.test deps
	$(BIN)/python -m pytest tests/proof -m proof --timeout 0 $(if $(SUITE),-k $(SUITE))

bench: $(VENV)/.test
	@[ -x $(VENV)/peers/bin/http ] || { $(PYTHON) -m venv $(VENV)/peers && \
		$(VENV)/peers/bin/pip install --quiet --disable-pip-version-check httpie==3.2.4; }
	@[ -d $(VENV)/peers/lib ] && $(VENV)/peers/bin/pip install --quiet --disable-pip-version-check pg_activity==3.6.2
	$(BIN)/python tests/bench/start_up.py --peer $(VENV)/peers/bin/http
	$(BIN)/python tests/bench/kafka_lag.py
	$(BIN)/python tests/bench/pg_locks.py --peers $(VENV)/peers
	$(BIN)/python tests/bench/hot_keys.py

lab: $(VENV)/.diag
	$(BIN)/diag lab up

clean:
	rm -rf $(VENV) demo-report.md dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
