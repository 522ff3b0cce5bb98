# `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help venv fuzz test lint test-all test-heavy test-wheel test-triton test-transformers4 demo soak-test mutants bench clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 22

venv: $(VENV)/.installed  ## make the virtual environment .venv from the pinned constraints, if there is none

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	mkdir -p .typing/moefuzz
	ln -sfn $(addprefix ../../,$(wildcard moefuzz/*.*) kernels harness strategies tests) .typing/moefuzz/
	touch $@

fuzz: venv  ## fuzz the Triton kernels for two minutes and print a summary
	$(BIN)/moefuzz fuzz --time 2m

demo: venv  ## fuzz a kernel that forgets its row mask, and one that aborts: see both caught and reported
	$(BIN)/pytest -x tests/properties --hypothesis-profile=ci --moe-target moefuzz.harness.planted.faults:forgets_the_row_mask \
	    --moe-report-dir moefuzz-reports; test $$? -eq 1
	$(BIN)/moefuzz fuzz --isolate --time 5s -t moefuzz.harness.planted.process_faults:aborts_behind_an_empty_expert; test $$? -eq 1
	$(BIN)/moefuzz report

test: venv lint  ## lint, type-check and run all tests that do not take long
	$(BIN)/pytest -n 2 --dist worksteal --hypothesis-profile=ci -m "not heavy"

lint: venv  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.typing $(BIN)/mypy

soak-test: venv  ## a run of minutes against ten planted faults, killed twenty times: each is found once, and nothing is lost
	$(BIN)/python benchmarks/soak.py --minutes 12 --kills 20

mutants: venv  ## count the mutants of our own kernels that the suite kills, beside a fixed grid: over an hour on two cores
	$(BIN)/python benchmarks/mutants.py

bench: venv  ## examples a second and, on a GPU, the kernels and a whole block beside others, with plots in bench/
	mkdir -p bench
	$(BIN)/python benchmarks/examples.py --forward
	$(BIN)/python benchmarks/examples.py
	$(BIN)/python benchmarks/examples.py --target triton_block --examples 200
	if $(BIN)/python -c "import torch, sys; sys.exit(not torch.cuda.is_available())"; then \
	    $(BIN)/python benchmarks/kernels.py --results bench/kernels.json --plot bench/speed.png --roofline bench/roofline.png && \
	    $(BIN)/python benchmarks/blocks.py --graph && $(BIN)/python benchmarks/fuzzing.py --plot bench/fuzzing.png; \
	else echo "no CUDA GPU: benchmarks/kernels.py, blocks.py and fuzzing.py were not run"; fi

test-all: test test-heavy test-wheel test-triton test-transformers4  ## all of the above, what takes long, and every version that the project supports

test-heavy: venv  ## the tests that take long, which `make test` leaves out; those of Ray and Redis too (Debian: redis-server, chromium)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,ray,redis]'
	$(BIN)/pytest -n 2 --dist worksteal --hypothesis-profile=ci -m heavy

test-wheel: venv  ## build sdist and wheel, install the wheel into an empty environment, and run it there
	$(BIN)/pytest tests/selftest/repo/installed_wheel.py

test-triton:  ## the kernel and block tests on Triton 3.6 (numpy below 2.4) and 3.9
	$(MAKE) .venv-triton-3.6/.installed .venv-triton-3.9/.installed
	for version in 3.6 3.9; do .venv-triton-$$version/bin/pytest -n 2 --hypothesis-profile=ci $(KERNEL_TESTS) || exit 1; done

test-transformers4:  ## the block tests on transformers 4.57.6
	$(MAKE) .venv-transformers-4/.installed
	.venv-transformers-4/bin/pytest -n 2 --hypothesis-profile=ci $(BLOCK_TESTS)

BLOCK_TESTS := tests/properties/test_moe_block.py tests/properties/test_block_relations.py tests/selftest/kernels/test_qwen3_blocks.py tests/selftest/levels/test_block_bounds.py
KERNEL_TESTS := $(BLOCK_TESTS) tests/properties/test_grouped_gemm.py tests/selftest/kernels/test_interpreter.py tests/selftest/kernels/test_op.py tests/selftest/kernels/test_launching.py \
    tests/selftest/sanitizer/test_sanitizer.py tests/selftest/sanitizer/test_sanitizer_findings.py tests/selftest/sanitizer/test_sanitizer_runs.py tests/selftest/sanitizer/test_sanitizer_coverage.py

# An environment as `make venv` makes it, but for one package: each line gives the versions that differ.
.venv-triton-3.6/.installed: DIFFERENT = triton==3.6.0 numpy==2.3.5
.venv-triton-3.9/.installed: DIFFERENT = triton==3.9.0
.venv-transformers-4/.installed: DIFFERENT = transformers==4.57.6 huggingface_hub==0.36.2
.venv-%/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	printf '%s\n' $(DIFFERENT) > $(@D)/constraints.txt
	grep -vE "^($$(echo '$(DIFFERENT)' | sed -E 's/==[^ ]*//g; s/ /|/g'))==" constraints.txt >> $(@D)/constraints.txt
	$(@D)/bin/pip install --quiet --constraint $(@D)/constraints.txt torch
	$(@D)/bin/pip install --quiet --constraint $(@D)/constraints.txt --editable '.[dev]'
	touch $@

clean:  ## remove environments and caches
	rm -rf $(VENV) .venv-* .typing .pytest_cache .mypy_cache .ruff_cache *.egg-info
