# make demo: speak a sentence. make test: all tests. make lint: style. All set up .venv first.
PYTHON ?= python3
VENV := .venv
SENTENCE := Printing, in the only sense with which we are at present concerned, differs from most arts.

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(VENV)/bin/fwn say "$(SENTENCE)" --out demo.wav --picture demo.png

test: $(VENV)/.installed
	$(VENV)/bin/python -m pytest

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean:
	rm -rf $(VENV) demo.wav demo.png

$(VENV)/.installed: tools/install.sh requirements/python311.txt pyproject.toml
	PYTHON=$(PYTHON) tools/install.sh $(VENV)
	touch $@
