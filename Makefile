# One word for each thing that one does here. All set-up happens by itself:
# a virtual environment in .venv, a container engine if none answers, a base
# image if none can be pulled.

PYTHON := .venv/bin/python
BIN := .venv/bin

.PHONY: help demo test check lint types layers sizes protos docs bench venv
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo:  ## build the example task, run it cold and warm, leave nothing behind
	@scripts/demo

test:  ## run the tests (ARGS="-k pool" goes to pytest)
	@scripts/test $(ARGS)

check: lint types layers sizes protos docs  ## lint, types, layers, size limits, generated code, documentation

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv
	$(BIN)/mypy

layers: venv
	$(BIN)/lint-imports

sizes: venv
	$(PYTHON) scripts/sizes

protos: venv
	$(PYTHON) scripts/protos --check

docs: venv
	$(BIN)/mkdocs build --strict --quiet

bench: venv  ## measure; prints ratios to what it compares with
	@scripts/with-engine $(PYTHON) -m benchmarks $(ARGS)

venv:  ## .venv with the project and its tools
	@scripts/bootstrap-venv
