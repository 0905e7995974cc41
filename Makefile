# One command for each need. As root, what is missing is installed; otherwise you are told.
.POSIX:
PYTHON = python3
VENV = .venv
RUN = $(VENV)/bin/python
SCRIPTS = tasks/onhost/*.sh .ci/run

help:
	@echo "make demo      two real LXD hosts on this machine, provisioned, shown"
	@echo "make test      every test; those on the lab skip where it cannot run"
	@echo "make check     the same, of exhaustive tests one case each; what CI runs"
	@echo "make lab-down  take the lab down"
	@echo "make wheels    dist/wheels: this project and all it needs, for a controller"
	@echo "make lint      style, types, shell scripts"
	@echo "make format    rewrite the code in its style"
	@echo "make setup     $(VENV) with all that is needed"

setup: $(VENV)/.done

$(VENV)/.done: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed; name it: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		if [ "$$(id -u)" = 0 ]; then apt-get update -q && apt-get install -qy python3-venv; \
		else echo "python3-venv is missing; as root: apt-get install python3-venv"; exit 1; fi
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -e '.[dev]'
	@touch $@

demo: setup
	$(RUN) -m tests.lab up
	$(RUN) runbooks/provision.py
	$(RUN) runbooks/status.py
	@echo "Look around: $(RUN) -m tests.lab exec sidn-demo-01 -- lxc list"
	@echo "When done:   make lab-down"

# What a controller of the fleet installs; made by the Python that it has as well.
wheels: setup
	@rm -rf dist/wheels
	$(RUN) -m pip wheel -q -w dist/wheels .

lab-down: setup
	$(RUN) -m tests.lab down

test: setup
	$(RUN) -m pytest -n 2 --second-try

# What CI runs: of the tests that go through every moment of a kill, say, one each.
check: setup
	$(RUN) -m pytest -n 2 --second-try --brief

test-unit: setup
	$(RUN) -m pytest -m "not lab and not vm"

bench: setup
	$(RUN) -m tests.bench
	$(RUN) -m tests.bench_ten
	$(RUN) -m tests.bench_faults

lint: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(RUN) -m mypy
	$(VENV)/bin/shellcheck $(SCRIPTS)

format: setup
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

.PHONY: help setup demo wheels lab-down test check test-unit bench lint format
