# The habits of the project. On a fresh machine with Python 3.11+ and make: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
JOBS ?= 2
PEER_PYTHON ?= $(PYTHON)
BEAM := $(shell sed -n 's/^apache-beam==//p' constraints.txt)
FLINK_JAR := .jars/flink-job-server.jar
FLINK_PARTS := beam-runners-flink-1.19:2.62.0

.PHONY: help install demo test test-slow fuzz check format bench bench-build bench-input bench-step bench-train \
  flink-jar lock clean

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

fuzz: $(INSTALLED)  ## 100,000 mutated annotation files; no traceback, no hang, no wrong mask
	$(BIN)/python -m tests.fuzz --count 100000

check: $(INSTALLED)  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)  ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-build: $(INSTALLED)  ## the record builder against what people use; about 15 minutes, 5 GB of disk
	$(BIN)/python -m pip install --quiet --no-deps --target .peers/build --upgrade -r tests/bench_peers_build.txt
	$(BIN)/python -m tests.bench_levers
	$(BIN)/python -m tests.bench_build

bench-input: $(INSTALLED)  ## the input pipeline against the article's loader and bare decoding; about 5 minutes
	$(BIN)/python -m venv .peers/input
	.peers/input/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/bench_peers_input.txt
	$(BIN)/python -m tests.bench_input

bench-train: $(INSTALLED)  ## the training step, with and without augmentation, and its wait for data; about 5 minutes
	$(BIN)/python -m tests.bench_train

bench: bench-build bench-input bench-step bench-train  ## all benchmarks, one after the other

bench-step: $(INSTALLED) .peers/step/.installed  ## the training step against segmentation_models; about 5 minutes, 3 GB of disk
	$(BIN)/python -m tests.bench_step

# The library needs TensorFlow 2.15, and so an environment of its own, with Python 3.9 to 3.11.
.peers/step/.installed: tests/bench_peers_step.txt
	$(PEER_PYTHON) -m venv .peers/step
	.peers/step/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

flink-jar: $(FLINK_JAR)  ## fetch the job server for --runner FlinkRunner into .jars; needs Maven

# Beam's one-file job server of our version, with its newest Flink or with the older one. Where the registry has
# neither, an older one in parts, under a jar that names them: it builds the same bytes (tests/test_flink.py).
$(FLINK_JAR):
	@command -v mvn >/dev/null || { echo "error: there is no mvn, which fetches Flink's job server (Debian: apt-get install maven)" >&2; exit 2; }
	@rm -rf .jars && mkdir -p .jars/lib .jars/META-INF
	@mvn() { command mvn -q -B -U "$$@" >>.jars/mvn.log 2>&1; }; \
	get() { mvn dependency:get -Dtransitive=false -Dartifact=$$1 && mvn dependency:copy -Dartifact=$$1 -DoutputDirectory=$$2; }; \
	for flink in 2.2 1.20; do \
	  name=beam-runners-flink-$$flink-job-server; \
	  if get org.apache.beam:$$name:$(BEAM) .jars; then mv .jars/$$name-$(BEAM).jar $@ && echo "$@: $$name $(BEAM)"; exit; fi; \
	done; \
	echo "no job server of Beam $(BEAM) to be had; trying the parts of $(FLINK_PARTS)"; \
	get org.apache.beam:$(FLINK_PARTS) .jars/lib && get org.apache.beam:$(FLINK_PARTS):pom .jars && \
	mvn -f .jars/$(subst :,-,$(FLINK_PARTS)).pom dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(CURDIR)/.jars/lib && \
	get org.slf4j:slf4j-simple:1.7.30 .jars/lib && cd .jars && \
	printf 'Main-Class: org.apache.beam.runners.flink.FlinkJobServerDriver\nClass-Path: \n' >META-INF/MANIFEST.MF && \
	printf '  %s\n' lib/*.jar >>META-INF/MANIFEST.MF && \
	$(PYTHON) -m zipfile -c $(notdir $@) META-INF && echo "$@: $(FLINK_PARTS)" || \
	{ echo "error: Maven could not fetch Flink's job server; see .jars/mvn.log" >&2; exit 1; }

lock:  ## resolve the newest allowed versions into constraints.txt
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet '.[train,dev]'
	{ echo "# Every version that is tested, for Python 3.11. Made by: make lock"; \
	  .venv-lock/bin/python -m pip freeze --exclude streetmask; } > constraints.txt
	rm -rf .venv-lock

clean:  ## remove what was made here, but not data/ and runs/
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
