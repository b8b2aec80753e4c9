# make demo    reconstruct a brain at 4x and show what it looks like
# make test    the whole test suite and the linter
# make docs    docs/api.md from the docstrings, docs/gallery.png from the previews, and what cards and README quote
# make release KEY=KEYFILE    dist/ with the wheel, a pack of each bundle, the signed index and a catalogue page
# make test-clients    NVFLARE, MONAI Label and MONAI Deploy on every bundle, each in an environment of its own: 7 GB, about a minute a bundle
# All make their own environment in .venv first. DIFFZOO_CLIENTS is where those of the clients are kept, by default .venv/clients.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test test-clients lint docs release clean

demo: $(VENV)/.demo
	$(BIN)/python tools/demo.py

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-clients: export DIFFZOO_CLIENTS ?= $(CURDIR)/$(VENV)/clients
test-clients: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs tests/clients

lint: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

release: $(VENV)/.test
	$(BIN)/python tools/release.py dist $(if $(KEY),--key $(KEY))

docs: $(VENV)/.test
	$(BIN)/python tools/write_api.py
	$(BIN)/python tools/make_gallery.py
	$(BIN)/python tools/write_results.py --all

$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch==2.13.0
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(INSTALL) --editable ".[demo]"
	@touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	$(INSTALL) --editable ".[all]"
	@touch $@

clean:
	rm -rf $(VENV) out
