# The commands of the project; `make` lists them. Each sets up .venv first (envs/install.sh).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo data test fuzz lint bench gpu-check slurm-check docs lock clean environment

# PYTHONPATH, as set by module systems, would let other packages into .venv.
unexport PYTHONPATH PYTHONHOME
export PATH := $(CURDIR)/.venv/bin:$(PATH)

DEMO := results/demo

help: ## list these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | \
	    awk -F '\t' '{ printf "  make %-11s %s\n", $$1, $$2 }'
	@echo
	@echo "  PYTHON=python3.12 make ...   uses that interpreter for .venv (3.11 or 3.12)"

demo: environment ## run the whole pipeline on a simulated atlas; figures in results/demo
	@snakemake --profile workflow/profiles/local --configfile config/demo.yaml
	@[ -e $(DEMO)/report.html ] || \
	    snakemake --configfile $(DEMO)/config.yaml --report $(DEMO)/report.html
	@echo
	@echo "The demo's results (simulated data):"
	@for file in index.html explorer.html summary.md figures/figure_1.png report.html; do \
	    [ ! -e $(DEMO)/$$file ] || echo "  $(DEMO)/$$file"; done

CORES ?= 4
data: environment ## make the data of CONFIG (default: the paper) here, on CORES cores (default: 4)
	@snakemake --profile workflow/profiles/local --cores $(CORES) \
	    $(if $(CONFIG),--configfile $(CONFIG)) data

# More threads than processes would wait for each other.
test: environment ## run the tests; SLURM=1 also starts a real SLURM (as root, on Debian)
	@OMP_NUM_THREADS=1 pytest --numprocesses 5 --dist loadfile --no-loadscope-reorder \
	    $(if $(SLURM),-m "not network")

fuzz: environment ## damage files of a small run a thousand times; each must be noticed (1 hour)
	@python tests/fuzz.py

# Also what the hooks of .pre-commit-config.yaml and .ci/run call: a check is added here alone.
lint: environment ## check style, formatting, types, spelling and the workflow
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	mypy
	codespell .ci .github *.md Makefile Snakefile config docs envs scripts workflow
	snakemake --lint --configfile config/demo.yaml

bench: environment ## run the benchmarks; writes results/benchmarks.tsv
	@python tests/benchmarks/run.py

gpu-check: environment ## on a machine with a GPU: test and time it; writes tests/benchmarks/gpu.tsv
	@python tests/benchmarks/gpu_check.py

slurm-check: environment ## on a cluster: check what `snakemake --profile slurm-gpu` needs
	@python scripts/slurm_check.py $(if $(CONFIG),--configfile $(CONFIG))

docs: environment ## write docs/config.md and docs/tables.md from their sources
	@python scripts/config_reference.py
	@python scripts/table_reference.py

lock: environment ## resolve envs/requirements.in into envs/lock.txt (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: install it as its documentation says." >&2; exit 1; }
	uv pip compile envs/requirements.in --universal --fork-strategy fewest \
	    --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --override envs/no-torch.txt -o envs/lock.txt

clean: ## remove .venv, the demo's data and results, and caches; other runs are kept
	rm -rf .venv $(DEMO) resources/atlas/demo
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis scripts/*.egg-info
	find scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

environment:
	@envs/install.sh
