# make demo   train, judge and ask a classifier, in a fresh environment of its own
# make test   everything that must hold before a change lands
# make docs   the documentation as a site, in build/site
# make notebooks   run them in full and keep their outputs (twenty minutes)
# make lock   renew the versions that both are made with

PYTHON ?= python3
BIN := .venv/bin
# Fashion-MNIST where it is at hand, else the digits that need no download.
DEMO_DATA := $(if $(wildcard $(ICONOCLASS_DATA)/fashion_mnist),fashion_mnist,digits)

.PHONY: demo test install docs notebooks lock clean

demo: install
	$(BIN)/iconoclass train $(DEMO_DATA) --name demo
	$(BIN)/python examples/save_test_pictures.py $$(ls -td runs/demo* | head -1) runs/pictures
	$(BIN)/iconoclass predict $$(ls -td runs/demo* | head -1) runs/pictures
	@echo "Open $$(ls -td runs/demo* | head -1)/report.html: all of the judgement on one page."

test: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile  # a file's tests share trainings; each process takes up to 2.5 GB

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Iconoclass needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

docs: install
	$(BIN)/python docs/build.py

notebooks: install
	$(BIN)/python notebooks/run.py

lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --quiet --output-file requirements.lock

clean:
	rm -rf .venv build runs .pytest_cache .mypy_cache .ruff_cache
