PYTHON ?= python
RUN_DIR ?= runs/demo

.PHONY: test portable slow golden soak lint wheel docs demo

# The tests of a file stay in one process, since they share what they set up; the dearest files come first, in the order
# of tests/conftest.py, and not those with most tests.
test:
	$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q

# What is run on every other Python than that of `test`.
portable:
	$(PYTHON) -m pytest -q -m "portable and not slow"

slow:
	$(PYTHON) -m pytest -q -m slow

golden:
	$(PYTHON) -m pytest -q -m golden

# A run killed fifty times, every operation on the disk made to fail, ten thousand spoilt inputs.
soak:
	$(PYTHON) -m tests.soak --kills=50
	$(PYTHON) -m tests.faults
	$(PYTHON) -m tests.fuzz 2000

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

# What a release consists of: the source, and the wheel that is built from it and not from the checkout.
wheel:
	rm -rf dist
	$(PYTHON) -m build --quiet
	$(PYTHON) -m twine check --strict dist/*

# The API reference of the docstrings, docs/api/index.html. No network.
docs:
	$(PYTHON) docs/reference.py

demo:
	$(PYTHON) -m load_tf.main --gin_file=demo.gin --run_dir=$(RUN_DIR)
