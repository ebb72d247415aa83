"""Rules of the house that no linter knows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(ROOT.glob("entangle-*/src/entangle/**/*.py"))
LONGEST = 600


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_is_one_idea(path):
    """A module says what it is, and can be read in one sitting."""
    source = path.read_text()
    assert ast.get_docstring(ast.parse(source)), "no docstring"
    assert source.count("\n") <= LONGEST


def test_namespace_has_no_init():
    """No distribution ships entangle/__init__.py: it would hide all others."""
    assert not list(ROOT.glob("entangle-*/src/entangle/__init__.py"))
    assert not (ROOT / "__init__.py").exists()


def test_licence_is_the_same_everywhere():
    """Each distribution ships the project's licence."""
    texts = {path.read_text() for path in ROOT.glob("entangle-*/LICENSE")}
    assert texts == {(ROOT / "LICENSE").read_text()}
