# Six words: install, check, test, docs, bench, demo. `make demo` and `make test` work alone on a fresh machine.
PYTHON ?= $(shell command -v python3.11 || echo python3)
BIN := .venv/bin

.PHONY: install check test docs bench demo

$(BIN)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Hilum needs Python 3.11 or newer; say: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

install: $(BIN)/.installed

check: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_rooms.py

test: $(BIN)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

docs: $(BIN)/.installed
	$(BIN)/python docs/build.py

bench: $(BIN)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	$(BIN)/python benchmarks/run.py $(if $(LIMIT),--limit $(LIMIT))

demo: $(BIN)/.installed
	$(BIN)/hilum demo
