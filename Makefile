# `make` alone lists the targets. Everything is installed into a virtual environment of the checkout,
# in the versions of constraints.txt.
#
# Another Python, without the deep-learning parts and the other libraries' classifiers (they are large,
# and where one is absent the tests that need it are skipped):
#
#     make test PYTHON=python3.13 EXTRAS=dev,plot

PYTHON ?= python3
EXTRAS ?= dev,plot,deep,distributed,dask,fast,interop
CONSTRAINTS ?= constraints.txt
PYTEST_ARGS ?=
# Processes that share the tests; a later `-n0` in PYTEST_ARGS is for a debugger.
TEST_JOBS ?= 2
MINUTES ?= 9
OUT ?= benchmarks/results/gpu
MUTANTS ?= skotw
GALLERY ?= 1

# A Python that was asked for gets an environment of its own.
ifndef VENV
ifeq ($(origin PYTHON),file)
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
endif

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
comma := ,

# The stamp of an environment names the extras that it holds.
TEST_ENV := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))
CHECK_ENV := $(VENV)/.installed-dev-doc-deep-dask
AUDIT_ENV := $(VENV)/.installed-dev-deep-dask-audit
DEMO_ENV := $(VENV)/.installed-demo

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help test test-oldest demo check lint format types imports docstrings spelling doc links dist mutants raises gpu gpu-wheels clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

test: $(TEST_ENV) ## run the tests and the examples in docstrings
	$(BIN)/python -m pytest -n $(TEST_JOBS) $(PYTEST_ARGS)

# No torch here: its old builds bring CUDA with them.
test-oldest: ## the same with the oldest supported Python and dependencies, those of constraints-oldest.txt
	$(MAKE) --no-print-directory test PYTHON=python3.11 VENV=.venv-oldest EXTRAS=dev,plot,dask,fast,interop \
		CONSTRAINTS=constraints-oldest.txt

demo: $(DEMO_ENV) ## what trusted rows buy, on digits and on a reviewed table: two tables, two figures
	MPLBACKEND=Agg $(BIN)/python examples/plot_quickstart.py

check: lint types imports docstrings spelling doc links dist ## everything but the tests: the targets below

lint: $(CHECK_ENV) ## style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(CHECK_ENV) ## repair what the linter can repair (no part of `check`)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(CHECK_ENV) ## static types of the numerical core, and of a script that calls all that is public
	$(BIN)/mypy

imports: $(CHECK_ENV) ## which way imports point
	$(BIN)/lint-imports --no-cache --no-logo

docstrings: $(CHECK_ENV) ## numpydoc validation of the public docstrings
	$(BIN)/numpydoc lint $$(find skotw -name '*.py')

spelling: $(CHECK_ENV) ## words in pages, docstrings, comments and examples
	$(BIN)/codespell doc skotw examples benchmarks README.md CONTRIBUTING.md CHANGELOG.md CITATION.cff

# It fetches nothing. SKOTW_INVENTORIES=FOLDER links other packages' manuals whose objects.inv lies there as NAME.inv.
doc: $(CHECK_ENV) ## the documentation into doc/_build/html (GALLERY=0: the examples are shown, but not run)
	$(BIN)/python -m sphinx -W --keep-going -b html -D plot_gallery=$(GALLERY) doc doc/_build/html

links: doc ## links and anchors inside the documentation, and whether it can be read without a network
	$(BIN)/python tests/_check_links.py doc/_build/html

dist: $(CHECK_ENV) ## sdist and wheel into dist/; the wheel must install and import on its own
	rm -rf build dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m venv build/venv
	build/venv/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(CONSTRAINTS) dist/*.whl
	build/venv/bin/python -I -c 'import skotw, pathlib; \
		home = pathlib.Path(skotw.__file__).parent; \
		assert "site-packages" in home.parts, home; \
		assert (home / "py.typed").exists(), "py.typed is missing"; \
		print("the wheel of skotw", skotw.__version__, "imports")'
	rm -rf build

# 4 to 15 mutants a minute were measured, and the whole core has some 3,800.
mutants: $(AUDIT_ENV) ## what no test notices in the numerical core (hours: name one module, MUTANTS=skotw/.../exact.py)
	CI=1 OMP_NUM_THREADS=1 $(BIN)/mutmut run '$(subst /,.,$(MUTANTS:.py=)).*'
	$(BIN)/python tests/_mutation_score.py $(MUTANTS)

raises: $(AUDIT_ENV) ## the `raise` statements in skotw that no test reaches
	$(BIN)/coverage run --source=skotw -m pytest -q $(PYTEST_ARGS)
	$(BIN)/python tests/_unraised.py

gpu: $(TEST_ENV) ## what is measured on a GPU, in MINUTES, into OUT (DATA=FOLDER: with the table of CIFAR-10)
	$(BIN)/python benchmarks/gpu.py --minutes $(MINUTES) --out $(OUT) $(if $(DATA),--data '$(DATA)')

# Its docstring says how to use them. pip matches platform tags exactly.
gpu-wheels: | $(VENV)/bin/pip ## what that needs on a machine without a network, into .gpu/ (DATA=FOLDER: its images too)
	rm -rf .gpu
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --dest .gpu --no-deps --only-binary=:all: \
		--python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_24_x86_64 \
		--platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --requirement benchmarks/gpu-wheels.txt
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir .gpu .
	$(if $(DATA),cp '$(DATA)/cifar10_lt.npz' .gpu/)
	du -sh .gpu

clean: ## remove the environments and all that was built
	rm -rf .venv .venv-* .gpu build dist doc/_build doc/auto_examples doc/generated \
		examples/output
	rm -rf .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache mutants
	find skotw tests examples benchmarks doc -name __pycache__ -type d -exec rm -rf {} +

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "skotw needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$($(PYTHON) --version 2>&1):" \
			"name another one, as in make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/pip
	$(INSTALL) --editable '.[$(subst -,$(comma),$*)]'
	@touch $@
