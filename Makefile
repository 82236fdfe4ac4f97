# Headway.  `make help` says what there is.
#
# Works with GNU make 3.81 (macOS) and newer.  Needs git, make and Python 3.11; everything else goes into .venv.

PY ?=
BIN := .venv/bin
STAMP := .venv/.headway-setup
PROJECTS := $(wildcard packages/*/pyproject.toml agents/*/pyproject.toml)

# An environment that was copied or moved here does not work; its stamp names the folder that it was made in.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench sim torture proto pins clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## Make .venv and install everything into it; nothing the second time (PY=python3.12 to choose)

$(STAMP): constraints.txt pyproject.toml scripts/setup.sh $(PROJECTS)
	@PY='$(PY)' sh scripts/setup.sh

demo: $(STAMP) ## Run a governed runbook and a compiled workflow on this machine (KEEP=1 leaves the engine running)
	@KEEP='$(KEEP)' $(BIN)/headway demo

test: $(STAMP) ## Run all tests (ARGS='-k word' to choose)
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: $(STAMP) ## Check format, lint, types and import contracts; with `make test` the whole gate
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Put every file into the one format, and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Measure Headway beside its peers and the machine's limit; prints ratios (takes a while)
	@$(BIN)/python -m bench $(ARGS)

sim: $(STAMP) ## Live many lives full of crashes, or one again (SEED=7; SEEDS=2000 FIRST=0)
	@$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FIRST),--first $(FIRST))

torture: $(STAMP) ## Kill the real engine and the real agent again and again, and look for anything lost or done twice
	@$(BIN)/python -m tests.torture $(ARGS)

proto: $(STAMP) ## Generate the message classes of the MirrorNeuron API from their .proto files
	$(BIN)/python -m grpc_tools.protoc -Ipackages/wire/src --python_out=packages/wire/src --pyi_out=packages/wire/src \
	    packages/wire/src/headway_wire/mirrorneuron/*.proto

pins: $(STAMP) ## Renew constraints.txt (developers; the lock file itself records hosts and stays out of git)
	@$(BIN)/uv lock --upgrade --quiet --python $(BIN)/python
	@$(BIN)/uv export --quiet --frozen --all-packages --no-emit-workspace --all-groups \
	    --no-hashes --no-header --no-annotate --output-file constraints.txt >/dev/null

clean: ## Remove what was made here: .venv, caches, the demo's and the bench's folders
	rm -rf .venv .bench .headway .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache uv.lock
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
