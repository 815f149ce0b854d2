# Everything runs from .venv, which is made once; touch nothing else.
PY := .venv/bin/python
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export GX_ANALYTICS_ENABLED := false

.PHONY: .venv demo test check bench bench-env

demo: .venv  ## the main job on a rendered world: a raw click log becomes a release that a model is trained on
	$(PY) -m demo

test: .venv  ## every test; those that want real photos read ZEROMILL_TEST_DATA
	$(PY) -m pytest

check: .venv  ## format, lint, types, import contract
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: .venv bench-env  ## what a run costs, as ratios
	$(PY) -m bench.run
	$(PY) -m bench.fetch
	$(PY) -m bench.look
	$(PY) -m bench.copies

bench-env: .venv  ## the peers' own environments, for benches that compare
	$(PY) -m bench.environments

# uv resolves here because the back-port `dataclasses` that img2dataset asks for has to be overridden away
.venv: .venv/.made

.venv/.made: pyproject.toml constraints.txt overrides.txt
	@python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "python3 is not 3.11 or 3.12, which img2dataset needs: put one of them first on PATH"; exit 1; }
	test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install --quiet -c constraints.txt uv
	.venv/bin/uv pip install --quiet --python $(PY) -c constraints.txt --override overrides.txt -e '.[dev]'
	@touch $@  # last: an install that was cut off is taken up again
