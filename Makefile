# make demo       installs what it uses into .venv, benchmarks two models on this machine, prints the table
# make test       installs everything into the same .venv; lint, types, all tests but those of a release
# make test-release  the tests of a release: every way of installing, the release check, the site, the executable pages
# make coverage   the tests of make test, and which lines of the code ran
# make unit       the tests that start no benchmarks and need no services, in a minute
# make services   installs and starts what the other tests need, as root on Debian
# make gpu        with the PyTorch of $(PYTHON), no network, no .venv: tests and benchmarks that need a GPU; docs/gpu.md
# make docs       brings generated tables and images up to date, builds the site into site/ and the man pages into man/
# make release-check  builds the packages, checks them, installs each into an empty environment and runs the demo

PYTHON ?= python3
# This exact version, because a range would install the newest build with several gigabytes of CUDA packages.
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin
# Processes that run tests in parallel. More than a few only wait for memory.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 8 ? n : 8)))
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 10

# Byte code is kept, whatever the environment says: tests start Python thousands of times, and each process of pytest
# would compile all tests again (13 s of CPU time instead of 6).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: venv demo test test-release coverage unit services check format docs release-check figures benchmarks gpu gpu-wheels clean

venv: $(VENV)/.installed

PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(VENV)/.measuring: pyproject.toml
	@echo "Installing PyTorch and dlbs into $(VENV) (1 GB): half a minute to five minutes, which the network decides."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	$(PIP) --editable '.[torch]'
	touch $@

$(VENV)/.installed: $(VENV)/.measuring
	@echo "Installing what tests need into $(VENV), about a minute."
	$(PIP) --editable '.[torch,export,jax,reports,serve,serving,postgres,parquet,mlflow,tensorboard,docs,notebook,dev]'
	touch $@

demo: $(VENV)/.measuring
	@echo "Six experiments, about a minute on two CPU cores."
	$(BIN)/dlbs run --plan examples/first/plan.yaml -Pexp.docker=false -Pexp.log_dir=demo/logs -Pexp.rerun=always
	$(BIN)/dlbs parse demo/logs --output-file demo/results.json
	@echo
	@$(BIN)/dlbs report demo/results.json
	@echo "logs: demo/logs   results: demo/results.json"

# Two more: there are always tests that wait, for Slurm, a container or a time limit.
test coverage: WORKERS = $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 6 ? n + 2 : 8)))
test: venv check
	$(PYTEST) -m "not release"

# Not part of `make test`: they install several gigabytes and run whole pages, and only packaging or a page makes them fail.
test-release: venv
	$(PYTEST) -m release

coverage: venv check
	$(PYTEST) -m "not release" --cov --cov-report=term

unit: venv
	$(PYTEST) -m "not integration" $(addprefix --ignore tests/,integration adversarial jax_benchmarks)

services:
	.ci/services

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md docs dlbs python config examples scripts
	$(BIN)/python -m scripts.check_prose
	$(BIN)/mypy

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Tables in the manual, from the code itself; then the site and the man pages.
docs: venv
	PYTHONPATH=python $(BIN)/python -m scripts.options_manual docs/pytorch-benchmarks.md docs/serving.md docs/training.md
	$(BIN)/python -m scripts.yaml_tables
	PYTHONPATH=.:python $(BIN)/python -m scripts.site

# The shape of the program: files, lines, imports, chains, start of a run, words.
figures: venv
	$(BIN)/python -m scripts.figures --chains

benchmarks: venv
	$(BIN)/python benchmarks/expansion.py
	$(BIN)/python benchmarks/launch.py
	$(BIN)/python benchmarks/data_pipeline.py
	$(BIN)/python benchmarks/harness_overhead.py
	$(BIN)/python benchmarks/training_loop.py
	$(BIN)/python benchmarks/monitor.py
	$(BIN)/python benchmarks/parse.py
	$(BIN)/python benchmarks/results.py --sizes 10000
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/serving_url.py
	-$(BIN)/python benchmarks/docker_overhead.py

release-check: venv
	$(BIN)/python -m scripts.release_check --torch '$(TORCH)'

# OUT=directory for the report; GPU="--minutes 30 --again" and the like (python -m scripts.gpu --help).
gpu:
	$(PYTHON) -m scripts.gpu $(GPU)

gpu-wheels:
	$(PYTHON) -m scripts.gpu.wheels wheels

clean:
	rm -rf $(VENV) demo dist .gpu .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
