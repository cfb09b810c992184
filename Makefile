# moe-zoo: every target sets up its virtual environment when needed, and does nothing twice.
# Another Python gets an environment of its own: `make test PYTHON=python3.13` uses .venv-python3.13.
# ARGS is passed on: `make train ARGS="--seed 2"`, `make test ARGS="-k routers"`.

ifeq ($(origin PYTHON),undefined)
PYTHON := python3
VENV := .venv
else
VENV := .venv-$(notdir $(PYTHON))
endif
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/.installed
TYPED := $(VENV)/typecheck
ORIGINAL := $(VENV)-original
ORIGINAL_STAMP := $(ORIGINAL)/.installed
OLDEST := $(VENV)-oldest
OLDEST_STAMP := $(OLDEST)/.installed
DOCS := $(VENV)-docs
DOCS_STAMP := $(DOCS)/.installed
TEST_PROCESSES ?= 2

export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help train test test-slow test-nightly test-wheel test-oldest test-original fuzz lint format bench docs
.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

train: $(STAMP) ## train the LSTM language model and its dense baseline, export and show the result
	@$(BIN)/moe-zoo train lstm_lm --compare $(ARGS)

test: $(STAMP) ## run the tests but the slow ones
	@$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile -m "not slow" $(ARGS)

test-slow: $(STAMP) ## run the slow tests: runs that are killed, meshes, clusters, pages
	@$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile -m "slow and not nightly" $(ARGS)

test-nightly: $(STAMP) ## run the tests of every night: benchmarks, more models on meshes, random tests
	@$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile -m nightly $(ARGS)

test-wheel: $(STAMP) ## build the wheel, install it elsewhere and test each subpackage there
	@bash .ci/test-wheel $(BIN)/python $(ARGS)

# The oldest releases that setup.py allows. Keras 3.10 warns of a functional model with one input that
# comes from a file; later releases do not.
test-oldest: $(OLDEST_STAMP) ## run the quick tests with the oldest TensorFlow and Keras
	@$(OLDEST)/bin/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile -m "not slow" \
		-W "ignore:The structure of:UserWarning" $(ARGS)

fuzz: $(STAMP) ## try random layers, options and damaged files for an hour
	@cd tests && $(BIN)/python -m fuzz --seconds 3600 $(ARGS)

# The original runs in an environment of its own, without TensorFlow, and exchanges files with the tests.
test-original: $(STAMP) $(ORIGINAL_STAMP) ## compare loaded checkpoints with Hugging Face's transformers
	@MOE_ZOO_ORIGINAL=$(CURDIR)/$(ORIGINAL)/bin/python \
		$(BIN)/python -m pytest tests/test_published/test_original_switch.py $(ARGS)

# mypy cannot follow the folders that moe_zoo/__init__.py joins, so it checks the packages as they
# are installed, and its messages are led back to the sources.
lint: $(STAMP) ## check format, style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check --output-format concise .
	@rm -rf $(TYPED) && mkdir $(TYPED)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python setup.py --quiet \
		egg_info --egg-base $(TYPED) build_py --build-lib $(TYPED)
	@cd $(TYPED) && { $(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --package moe_zoo \
		> messages && failed=0 || failed=1; \
		sed -E 's#^moe_zoo/(models|training)/#\1/#' messages; exit $$failed; }

# The site is built from the packages as they are installed, which it reads without importing them.
docs: $(DOCS_STAMP) ## build the documentation site into build/site, with its links checked
	@rm -rf build/docs && mkdir -p build/docs
	@PYTHONDONTWRITEBYTECODE= $(DOCS)/bin/python setup.py --quiet \
		egg_info --egg-base build/docs build_py --build-lib build/docs/package
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build

format: $(STAMP) ## format the code and repair what ruff can repair
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## measure the MoE layer against its dense and balanced limits
	@$(BIN)/python benchmarks/moe_layer.py $(ARGS)

# A venv whose pip does not run was interrupted while it was made, and is made anew.
$(STAMP): setup.py pyproject.toml
	@set -e; \
	if $(BIN)/python -m pip --version > /dev/null 2>&1; then python="$(BIN)/python"; \
	else python="$(PYTHON)"; fi; \
	version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null) \
		|| version="a command that does not run"; \
	case "$$version" in 3.11|3.12|3.13) ;; *) \
		echo "Expected PYTHON to be Python 3.11, 3.12 or 3.13. Received: $$python is $$version." >&2; \
		echo "Name another one, for example: make $(or $(MAKECMDGOALS),test) PYTHON=python3.12" >&2; \
		exit 1;; esac; \
	if [ "$$python" = "$(PYTHON)" ]; then \
		echo "==> Creating $(VENV) with Python $$version"; \
		"$(PYTHON)" -m venv --clear $(VENV); \
	fi; \
	echo "==> Installing moe-zoo and its tools into $(VENV) (the first time takes minutes)"; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test]'; \
	touch $@

# An environment of its own with the packages of one extra and nothing else.
$(ORIGINAL_STAMP) $(DOCS_STAMP): $(STAMP)
	@set -e; \
	extra="$(patsubst $(VENV)-%/,%,$(dir $@))"; \
	if ! $(@D)/bin/python -m pip --version > /dev/null 2>&1; then \
		$(BIN)/python -m venv --clear $(@D); \
	fi; \
	echo "==> Installing the packages of the extra $$extra into $(@D) (the first time takes minutes)"; \
	$(BIN)/python -c 'import sys; from importlib.metadata import requires; \
		extra = [x.split(";") for x in requires("moe-zoo") if "extra ==" in x]; \
		print(*(x for x, marker in extra if sys.argv[1] in marker), sep="\n")' "$$extra" \
		> $(@D)/requirements.txt; \
	$(@D)/bin/python -m pip install -qq --disable-pip-version-check \
		--requirement $(@D)/requirements.txt; \
	touch $@

$(OLDEST_STAMP): $(STAMP)
	@set -e; \
	if ! $(OLDEST)/bin/python -m pip --version > /dev/null 2>&1; then \
		$(BIN)/python -m venv --clear $(OLDEST); \
	fi; \
	echo "==> Installing the oldest TensorFlow and Keras into $(OLDEST) (the first time takes minutes)"; \
	$(BIN)/python -c 'import re; from importlib.metadata import requires; \
		found = [re.match(r"((?:keras|tensorflow)(?:-text)?)\b.*>=([0-9.]+)", x) for x in requires("moe-zoo")]; \
		print(*(f"{x[1]}=={x[2]}.*" for x in found if x), sep="\n")' > $(OLDEST)/constraints.txt; \
	$(OLDEST)/bin/python -m pip install -qq --disable-pip-version-check \
		--constraint $(OLDEST)/constraints.txt --editable '.[test]'; \
	touch $@
