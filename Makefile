# `make demo` and `make test` do all the set-up themselves. PYTHON chooses the Python to set up with.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help setup demo test lint bench defaults accuracy format clean

help:            ## what can be made
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

setup: $(READY)  ## a virtual environment with everything in it

# Made anew when the dependencies change, and only then.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	touch $@

demo: $(READY)   ## train on real data; results in runs/demo/
	$(BIN)/glasslstm demo --out runs/demo

# One thread a worker: the tests are many and small, and workers with several threads each fight for the cores.
test: $(READY)   ## the tests, doctests among them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

lint: $(READY)   ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(READY)  ## our layer against torch.nn.LSTM, side by side
	$(BIN)/python benchmarks/layer.py

defaults: $(READY) ## the cross-validation behind the classifier's defaults (an hour)
	$(BIN)/python benchmarks/defaults.py

accuracy: $(READY) ## the test accuracy of the defaults over ten seeds
	$(BIN)/python benchmarks/accuracy.py

format: $(READY) ## put the code in shape
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:           ## remove what was made
	rm -rf $(VENV) runs dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
