# The habits of the project. On a fresh machine with Python 3.11+ and make: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
JOBS ?= 2

.PHONY: help install demo test test-slow check format bench-build lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED)  ## make .venv and install the pinned packages

$(INSTALLED): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))' || { \
	  echo "error: Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is $$($(PYTHON) --version); try make PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,dev]'
	@touch $@

demo: $(INSTALLED)  ## sample streets -> records -> UNET -> table of IoU, pictures, TensorBoard; about 10 minutes
	$(BIN)/python -m beam_jobs.build_records --runner DirectRunner
	$(BIN)/python -m model.train --config configs/demo.yaml --run runs/demo --overwrite
	$(BIN)/python -m model.evaluate --run runs/demo --split val
	$(BIN)/python -m model.predict --run runs/demo --input data/sample/leftImg8bit/val --output runs/demo/predictions
	@echo
	@echo "pictures:    runs/demo/predictions/overlay/drive04/frame0000_leftImg8bit.png"
	@echo "report:      runs/demo/report/report.json and confusion_matrix.png"
	@echo "TensorBoard: $(BIN)/tensorboard --logdir runs"

test: $(INSTALLED)  ## all tests but the slow ones; at most 8 minutes on two cores
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS)

test-slow: $(INSTALLED)  ## the slow tests; at most 30 minutes on two cores
	$(BIN)/python -m pytest -m slow

check: $(INSTALLED)  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)  ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-build: $(INSTALLED)  ## the record builder against what people use; about 10 minutes, 5 GB of disk
	$(BIN)/python -m pip install --quiet --no-deps --target .peers/build --upgrade -r tests/bench_peers_build.txt
	$(BIN)/python -m tests.bench_build

lock:  ## resolve the newest allowed versions into constraints.txt
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet '.[train,dev]'
	{ echo "# Every version that is tested, for Python 3.11. Made by: make lock"; \
	  .venv-lock/bin/python -m pip freeze --exclude streetmask; } > constraints.txt
	rm -rf .venv-lock

clean:  ## remove what was made here, but not data/ and runs/
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
