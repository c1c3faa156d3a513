# Sluice's commands; `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null || echo $(VENV)/bin/uv)
MEMBERS := $(sort $(wildcard libs/*) $(wildcard services/*))
SOURCES := $(addsuffix /src,$(MEMBERS))
# OpenAPI documents: whose it is, and where the copy is.
DOCUMENTS := gateway:openapi.json auth:openapi-auth.json
BENCHES := $(basename $(notdir $(wildcard tests/bench/bench_*.py)))

# The certificates of this machine, so that it works behind a proxy that brings its own.
export UV_SYSTEM_CERTS ?= 1

ARGS ?=

.PHONY: help install demo up secrets compose-check nightly test test-pulls test-large lint format schemas bench fuzz screenshots synthea lock lock-java clean

help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@command -v uv >/dev/null 2>&1 && uv venv -q --python $(PYTHON) $(VENV) || { $(PYTHON) -m venv $(VENV) && $(BIN)/pip install -q uv; }

# The environment is rebuilt whenever the lock or a member's declaration is newer than the mark.
$(VENV)/.installed: requirements.lock $(addsuffix /pyproject.toml,$(MEMBERS)) | $(VENV)/bin/python
	@echo "setting up $(VENV)"
	@$(UV) pip install -q --compile-bytecode --python $(VENV) --require-hashes -r requirements.lock
	@$(UV) pip install -q --python $(VENV) --no-deps $(addprefix -e ,$(MEMBERS))
	@touch $@

install: $(VENV)/.installed ## create the environment from the lock

demo: install ## import from a demo source, and export, end to end; KEEP=1 leaves the stack running
	@$(BIN)/python -m sluice_stack.demo $(if $(KEEP),--keep) $(ARGS)

up: install ## run Kafka, Postgres, every service and the demo source; Ctrl-C stops them
	@$(BIN)/python -m sluice_stack.up up $(ARGS)

screenshots: install ## take the README's pictures of the page anew; needs Chromium
	SLUICE_SCREENSHOTS=1 SLUICE_TESTS_NEED=chromium $(BIN)/pytest tests/browser/test_screenshots.py

synthea: install ## generate more synthetic patients (ARGS="--patients 200"); prints the folder
	@$(BIN)/python -m sluice_stack.synthea $(ARGS)

bench: install ## measure the figures, each beside the limit reached in the same run
	@for each in $(BENCHES); do echo "== $$each"; PYTHONPATH=tests $(BIN)/python -m bench.$$each $(ARGS) || exit 1; done

clean: ## remove the stack's data and the environment; caches outside the checkout stay
	rm -rf .sluice $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

lock: | $(VENV)/bin/python ## resolve requirements.lock anew from what the members declare
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" $(foreach m,$(MEMBERS),--no-emit-package sluice-$(notdir $(m))) \
		pyproject.toml --group dev $(addsuffix /pyproject.toml,$(MEMBERS)) -o requirements.lock

lock-java: install ## resolve the jars of Kafka and Synthea anew
	$(BIN)/python -m sluice_stack.jars

lint: install ## check style, formatting, types and that no published schema is broken
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# Where its processes take three seconds to start, as on a busy machine, it gives up (2): one does it then.
	$(BIN)/mypy -n 2 $(SOURCES) tests || { [ $$? = 2 ] && $(BIN)/mypy $(SOURCES) tests; }
	$(BIN)/python -m sluice_stack.schemas check
	@$(foreach d,$(DOCUMENTS),$(BIN)/python -m sluice_$(word 1,$(subst :, ,$d)).openapi | cmp -s - schemas/$(word 2,$(subst :, ,$d)) || \
		{ echo "schemas/$(word 2,$(subst :, ,$d)) is not what the routes say; run: make schemas"; exit 1; };)

schemas: install ## write what is in schemas/ of messages and of the APIs as the types and routes say
	$(BIN)/python -m sluice_stack.schemas write
	@$(foreach d,$(DOCUMENTS),$(BIN)/python -m sluice_$(word 1,$(subst :, ,$d)).openapi > schemas/$(word 2,$(subst :, ,$d)) &&) true

format: install ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Three files at a time on two cores: much of the time a test waits for what it has started. What kills things
# runs when nothing else does. Services are compiled once, also where keeping bytecode is off: many are started.
test: export PYTHONDONTWRITEBYTECODE =
test: install ## run the tests
	$(BIN)/pytest -n 3 --dist loadfile --ignore=tests/faults $(ARGS)
	$(BIN)/pytest -n 2 --dist loadfile --ignore=tests/faults/test_pull_kill_nine.py \
		--ignore=tests/faults/test_large_attachment.py tests/faults

secrets: ## make the compose stack's secrets, in deploy/secrets; ARGS="HOST..." for a certificate of those names
	@deploy/secrets.sh $(ARGS)

compose-check: install ## build the images and run the compose stack and a demo on it, with podman, as root
	@deploy/check/run.sh

nightly: test-pulls test-large compose-check ## what takes too long for each change

# The seconds are shared among the tests; .ci/run gives them two minutes.
fuzz: export SLUICE_FUZZ_SECONDS ?= 600
fuzz: install ## throw anything at every parser and at the API, for SLUICE_FUZZ_SECONDS (600)
	$(BIN)/pytest -n 2 -m fuzz $$(grep -rlF pytest.mark.fuzz --include='test_*.py' tests) $(ARGS)

test-pulls: install ## kill whatever takes part in a pull, 20 times; takes some minutes more
	$(BIN)/pytest tests/faults/test_pull_kill_nine.py

test-large: install ## import an attachment of 3 GiB; a minute or two
	$(BIN)/pytest tests/faults/test_large_attachment.py
