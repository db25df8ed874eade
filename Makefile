PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test test-all texts docs docs-serve lint stubs package compatibility bench gpu reproduction suite zoo picture clean

## help: what make can do
help:
	@sed -n 's/^## \([a-z-]*\): \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-22s %s\n", $$1, $$2}'

## demo: set up, then race ALTO, Lamb, AdamW and another package's Lamb on real data
demo: $(VENV)/.installed
	$(BIN)/edsl compare digits "alto(lr=0.01)" "lamb(lr=0.01)" "torch.AdamW(lr=0.001)" "torch_optimizer.Lamb(lr=0.01)" --batch 1024 --seeds 3

## test: set up, then the whole test suite but for tests of minutes
test: $(VENV)/.installed-dev
	$(BIN)/pytest -q -n 2

## test-all: the slow tests too
test-all: $(VENV)/.installed-dev
	$(BIN)/pytest -q -n 2 -m "slow or not slow"

## texts: what README, docs and docstrings say: every code block runs, every link and name is there
texts: $(VENV)/.installed-dev
	$(BIN)/pytest -q -n 2 tests/docs

## docs: build the documentation as a site in build/site; a warning or a dead link fails
docs: $(VENV)/.installed-docs
	$(BIN)/python -m mkdocs build

## docs-serve: serve the site on http://127.0.0.1:8000, built anew when a page changes
docs-serve: $(VENV)/.installed-docs
	$(BIN)/python -m mkdocs serve

## lint: style, and types of the package as it installs
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build  # what an older build left would be installed too
	$(PIP) --no-deps --target build/typing .
	$(BIN)/pyright

## stubs: write edsl/__init__.pyi, what editors and type checkers know of stages and recipes
stubs: $(VENV)/.installed-dev
	$(BIN)/python tests/types/stubs.py

## package: sdist and wheel in dist/, checked
package: $(VENV)/.installed-dev
	rm -rf build dist  # what an older build left would be packed too
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

## compatibility: write docs/compatibility.md
compatibility: $(VENV)/.installed-dev
	$(BIN)/python tests/clients/compatibility.py

## bench: measure on this machine's CPU, and write docs/benchmarks/cpu.md and matrices.md
bench: $(VENV)/.installed-bench
	$(BIN)/python docs/benchmarks/write.py

## gpu: check and measure on an NVIDIA GPU with the packages of $(PYTHON), and write docs/benchmarks/gpu.md and gpu.json
gpu:
	@$(PYTHON) docs/benchmarks/gpu.py

## reproduction: measure the paper's claims, and write docs/reproduction.md (an hour on two cores); CLAIMS="memory times"
## measures these alone
reproduction: $(VENV)/.installed-dev
	$(BIN)/python docs/reproduce.py $(CLAIMS)

## zoo: race the entries of the zoo on two tasks, and write docs/zoo.md and zoo.json (25 minutes on two cores)
zoo: $(VENV)/.installed-dev
	$(BIN)/python docs/zoo.py

## suite: race on the suite `small`, and write docs/suite.md (half an hour on two cores)
suite: $(VENV)/.installed-dev
	$(BIN)/python docs/suite.py

## picture: draw the picture of README.md (five minutes on two cores)
picture: $(VENV)/.installed-dev
	$(BIN)/python docs/picture.py

## clean: remove the environment, caches and builds
clean:
	rm -rf $(VENV) build dist .cache *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

# curvlinops asks for torchvision, whose wheels on PyPI don't load beside a CPU build of torch and then break
# transformers. What it needs without that stands in the extra `dev`.
$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e ".[dev]"
	$(PIP) --no-deps curvlinops-for-pytorch backpack-for-pytorch unfoldNd
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(PIP) -e ".[bench]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) -e ".[docs]"
	touch $@
