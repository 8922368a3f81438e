# Each target creates what it needs: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
ADDRESS ?= 127.0.0.1:8000

# Set to 1: a service that is not there is a failure, and so is any skipped test.
export REQUIRE_SERVICES

# The folder is made once; its packages again whenever their list changes.
installed = $(VENV)/.installed-$(1)

.PHONY: test lint format demo worker benchmark clean

test: $(call installed,test) \
		$(if $(REQUIRE_SERVICES),$(call installed,mariadb) tests/js/node_modules)
	$(VENV)/bin/python -m tests.run $(ARGS)

lint: $(call installed,lint) $(call installed,test)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/python -m mypy

format: $(call installed,lint)
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

demo: $(call installed,demo)
	$(VENV)/bin/python demo/manage.py migrate --verbosity 0
	$(VENV)/bin/python demo/manage.py runserver $(ADDRESS)

worker: $(call installed,demo)
	cd demo && ../$(VENV)/bin/celery --app mailer worker --beat --loglevel INFO

benchmark: $(call installed,test)
	$(VENV)/bin/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv .venv-tox build dist .coverage* .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade "pip>=25.1"

# What the tests of the browser's side compare with: nothing of it is shipped.
tests/js/node_modules: tests/js/package.json
	npm install --prefix tests/js --no-package-lock --no-audit --no-fund --silent
	touch $@

# The package itself, editable, with one group of pyproject.toml.
$(call installed,%): pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable . --group $*
	touch $@
