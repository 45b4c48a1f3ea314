# `make demo` and `make test` do all the set-up themselves. PYTHON chooses the Python to set up with.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help setup demo test others faults lint sanitize wheel bench defaults accuracy forecasts format clean

help:            ## what can be made
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

setup: $(READY)  ## a virtual environment with everything in it

# Made anew when the dependencies or the native sources change, and only then. The tools of the build stand in the
# environment too, in the versions of constraints.txt, and build/module is kept: a change compiles what it touches.
$(READY): pyproject.toml constraints.txt CMakeLists.txt $(wildcard src/glasslstm/csrc/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) scikit-build-core nanobind cmake ninja
	SKBUILD_BUILD_DIR=build/module $(INSTALL) --no-build-isolation --editable '.[all,dev]'
	@$(BIN)/python -c 'import glasslstm._native' 2>/dev/null || echo 'The native kernels are not there: see CONTRIBUTING.md, "Build".'
	touch $@

demo: $(READY)   ## train on real data; results in runs/demo/
	$(BIN)/glasslstm demo --out runs/demo

# One thread a worker: the tests are many and small, and workers with several threads each fight for the cores.
test: $(READY)   ## the tests, doctests among them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

others:          ## convert, watch and diagnose on models of other packages, in an environment of its own (gigabytes)
	test -x build/others/bin/python || $(PYTHON) -m venv build/others
	build/others/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/others/requirements.txt .
	OMP_NUM_THREADS=1 build/others/bin/python -m pytest -m others tests/others

faults: $(READY) ## planted faults and healthy models: how often diagnose is right (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faults

lint: $(READY)   ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

sanitize: sanitize-plain sanitize-address sanitize-thread ## the tests of the native core, without and with the sanitizers

sanitize-%: $(READY)
	$(BIN)/cmake -S . -B build/$@ -DGLASSLSTM_CHECK=$*
	$(BIN)/cmake --build build/$@ --parallel
	$(BIN)/ctest --test-dir build/$@ --output-on-failure

wheel: $(READY)  ## a wheel for this Python and every processor of this kind, in dist/
	rm -rf build/wheel
	GLASSLSTM_REQUIRE_NATIVE=1 $(BIN)/python -m build --wheel --no-isolation --outdir build/wheel
	$(BIN)/auditwheel repair --patcher none --exclude libgomp.so.1 --wheel-dir dist build/wheel/*.whl

bench: $(READY)  ## our layer against torch.nn.LSTM and others, all works and shapes (half an hour)
	$(BIN)/glasslstm bench --work all

defaults: $(READY) ## the cross-validation behind the defaults, on training data alone (hours)
	$(BIN)/python -m benchmarks.defaults

accuracy: $(READY) ## five data sets, ten seeds, into docs/accuracy.md (half an hour)
	$(BIN)/python -m benchmarks.accuracy

forecasts: $(READY) ## airline, sunspots, synthetic and many series, into docs/forecasts.md (10 minutes)
	$(BIN)/python -m benchmarks.forecasts

format: $(READY) ## put the code in shape
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:           ## remove what was made
	rm -rf $(VENV) runs dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
