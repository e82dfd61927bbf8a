# The commands of this project. `make` alone lists them.

PYTHON ?= python3
PORT ?= 8000
TESTFLAGS ?=
SCREENSHOTS ?= .local/screenshots

BIN := .venv/bin
EMBEDDED := $(BIN)/python -m finops.embedded
checksum = $(firstword $(shell cksum < $(1)))
# One stamp per content of a lock, so that an installed environment costs nothing and a changed one is noticed.
UV := .venv/uv-$(call checksum,requirements-uv.lock)
RUNTIME := .venv/runtime-$(call checksum,requirements.lock)
DEVELOPMENT := .venv/development-$(call checksum,requirements-dev.lock)

SITE = LOG_LEVEL="$${LOG_LEVEL:-WARNING}" BASE_URL="$${BASE_URL:-http://localhost:$(PORT)}"
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo run test check bench chaos screenshots reset format lock port

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

demo: $(RUNTIME) port ## The product with a sample of real traces, at http://localhost:8000 (PORT=... for another)
	@$(SITE) $(EMBEDDED) run -- sh -ec '$(prepare); exec honcho -e /dev/null start -p $(PORT)'

run: $(RUNTIME) port ## The product with the data it has: site, workers, beat
	@$(SITE) $(EMBEDDED) run -- sh -ec '$(prepare); exec honcho -e /dev/null start -p $(PORT) web worker prompt alerts beat'

test: $(DEVELOPMENT) ## Every test; TESTFLAGS="-k spend -n 0" goes to pytest
	@$(BIN)/python -m tests.browser_binary
	@$(BIN)/pytest $(TESTFLAGS)

check: $(DEVELOPMENT) ## Lint, format, types, imports, migrations, deployment settings, API document
	@$(EMBEDDED) run -- sh -ec '$(checks)'

bench: $(DEVELOPMENT) ## The benchmarks, one JSON object per line
	@$(BIN)/python -m tests.browser_binary > /dev/null
	@$(EMBEDDED) --name bench reset > /dev/null
	@$(BIN)/python -m bench

chaos: $(DEVELOPMENT) ## A million operations on caps, workers killed: do they hold? Half an hour
	@$(EMBEDDED) --name bench reset > /dev/null
	@$(BIN)/python -m bench chaos

screenshots: $(DEVELOPMENT) ## Pictures of the main pages, in .local/screenshots (SCREENSHOTS=... for another folder)
	@$(BIN)/python -m tests.browser_binary
	@SCREENSHOTS="$(SCREENSHOTS)" $(BIN)/pytest -n 0 -p no:cacheprovider tests/portal/screenshots.py

reset: $(RUNTIME) ## Stop the embedded servers and delete their data
	@$(EMBEDDED) reset

format: $(DEVELOPMENT) ## Rewrite the code as ruff formats it
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(UV) ## Pin the newest allowed versions of every dependency, with hashes
	@$(compile) --upgrade pyproject.toml -o requirements.lock
	@$(compile) --upgrade --group dev pyproject.toml -o requirements-dev.lock
	@grep -o 'uv==[0-9.]*' pyproject.toml | $(compile) --custom-compile-command 'make lock' - -o requirements-uv.lock
	@printf 'focus-validator==2.2.1\npyarrow<22\n' | $(compile:3.11=3.12) --custom-compile-command 'make lock' - \
		-o requirements-focus.lock

# --- what the commands above are made of ---

compile = $(BIN)/uv pip compile --quiet --generate-hashes --universal --no-emit-index-url --no-emit-find-links \
	--no-annotate --python-version 3.11

define prepare
echo "Migrating the database"; python manage.py migrate --verbosity 0; \
echo "Loading the price catalog"; FINOPS_PROCESS=worker python manage.py load_catalog; \
echo "Building static files"; python manage.py build_charts_js; python manage.py collectstatic --no-input --verbosity 0; \
echo "Starting the site, the workers and the clock; Ctrl-C stops everything"
endef

# The deployment check sees an environment as in production.
define checks
echo "ruff check"; ruff check .; \
echo "ruff format"; ruff format --check .; \
echo "mypy"; mypy; \
echo "lint-imports"; lint-imports; \
echo "makemigrations --check"; python manage.py makemigrations --check --dry-run; \
echo "spectacular --validate"; python manage.py spectacular --validate --fail-on-warn --file /dev/null; \
echo "check --deploy"; \
DEBUG=0 FINOPS_EMBEDDED=0 BASE_URL=https://finops.example ALLOWED_HOSTS=finops.example \
python manage.py check --deploy --fail-level WARNING
endef

port: | $(RUNTIME)
	@$(BIN)/python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT)))' 2>/dev/null || { \
		echo "Port $(PORT) cannot be used: it is taken, or not a port." >&2; \
		echo "Stop what listens there, or choose another: make $(or $(firstword $(MAKECMDGOALS)),demo) PORT=8001" >&2; \
		exit 1; }

$(UV): requirements-uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is missing or older than 3.11: install Python 3.11, or name one: make PYTHON=/path/to/python3" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; }
	@echo "Creating the virtual environment .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@rm -f .venv/uv-*
	@touch $@

# The development lock holds everything of the runtime lock, at the same versions.
$(RUNTIME): requirements.lock | $(UV)
	@echo "Installing requirements.lock"
	@$(install) -r requirements.lock
	@rm -f .venv/runtime-*
	@touch $@

$(DEVELOPMENT): requirements-dev.lock | $(UV)
	@echo "Installing requirements-dev.lock"
	@$(install) -r requirements-dev.lock
	@rm -f .venv/runtime-* .venv/development-*
	@touch $@ $(RUNTIME)

install = $(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --require-hashes
