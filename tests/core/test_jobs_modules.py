"""Modules of the caller's own that travel with jobs, which can't ask for them later."""

import importlib
import pickle
import sys

import pytest

from entangle._jobs.modules import needed
from entangle.task import task
from entangle.testing import SpoolExecutor

SOURCES = {
    "__init__": "from .near import two\nfrom . import other\nfrom travels.far import up\n"
    "def total(n):\n    return two() * n + other.ONE + up.ONE\n",
    "near": "def two():\n    return 2\n",
    "other": "import travels.whole\nONE = travels.whole.ONE\n",
    "whole": "ONE = 1\n",
    "unused": "raise RuntimeError\n",
    "far/broken": "def\n",
    "far/__init__": "def late():\n    from . import broken\n",
    "far/up": "from .. import whole\nfrom ..whole import ONE\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package beside the program, whose modules name each other in all ways."""
    for name, source in SOURCES.items():
        path = tmp_path / "travels" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("travels")
    for name in [*sys.modules]:
        if name.partition(".")[0] == "travels":
            del sys.modules[name]


def test_what_its_modules_import_travels_too(package):
    found = pickle.loads(needed([b"...travels..."], None))
    expected = ["", ".far", ".far.broken", ".far.up", ".near", ".other", ".whole"]
    assert sorted(found) == [f"travels{name}" for name in expected]


@pytest.mark.process
def test_a_package_is_imported_in_a_job(package, tmp_path):
    with SpoolExecutor(folder=str(tmp_path / "spool")) as executor:
        assert task(executor=executor)(package.total)(3)() == 8
