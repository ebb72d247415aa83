"""Modules of the caller's own that travel with jobs, which can't ask for them later."""

import importlib
import os
import pickle
import subprocess
import sys
import textwrap

import pytest

from entangle._jobs import modules, references
from entangle._jobs.packing import check_secrets, pack
from entangle._worker import codec, functions
from entangle.errors import UnpicklableError
from entangle.secrets import withhold
from entangle.task import task
from entangle.testing import RecordedCall, SpoolExecutor

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


def imported_by(source, package=""):
    space = {"__name__": f"{package}.one", "__package__": package}
    exec(textwrap.dedent(source), space)
    function = space["f"]
    return references.modules(functions.encode_function(function))


def test_what_its_modules_import_travels_too(package):
    found = modules.needed(["travels"], None)
    expected = ["", ".far", ".far.broken", ".far.up", ".near", ".other", ".whole"]
    assert sorted(found) == [f"travels{name}" for name in expected]


@pytest.mark.process
def test_a_package_is_imported_in_a_job(package, tmp_path):
    with SpoolExecutor(folder=str(tmp_path / "spool")) as executor:
        assert task(executor=executor)(package.total)(3)() == 8


def test_what_a_function_imports_in_its_body():
    source = """
        def f():
            import alone, a.b
            from c.d import e
            def inner():
                from . import beside
                from ..above import g
            class Local:
                def method(self):
                    import deep
    """
    found = imported_by(source, "own.sub")
    expected = {"alone", "a.b", "c.d", "own.sub.beside", "own.above", "deep"}
    assert expected <= found


def test_what_a_wide_function_imports():
    names = "; ".join(f"n{number} = {number}.5" for number in range(400))
    source = f"def f():\n    {names}\n    from c.d import e\n    from . import g"
    assert {"c.d", "c.d.e", "own.g"} <= imported_by(source, "own")


def test_a_module_that_imports_by_text_under_another_name():
    source = b"from importlib import import_module as load\nload('settings')\n"
    assert "settings" in modules.imports.of_source("own", False, source)


@pytest.mark.parametrize(
    "body",
    ["return 'settings'", "'settings'; return", "settings = 1; return settings"],
)
def test_text_is_no_import(body):
    assert "settings" not in imported_by(f"def f(): {body}")


def test_names_that_are_imported_by_text():
    source = """
        import importlib
        def f():
            for name in ("settings", "own.one", ".two"):
                importlib.import_module(name, __package__)
    """
    assert {"settings", "own.one", "own.two"} <= imported_by(source, "own")


def test_a_class_by_value_that_imports_in_a_method():
    class Local:
        def method(self):
            import settings  # noqa: F401

    assert "settings" in references.modules(codec.encode([Local()]).data)


def test_what_only_programs_and_checkers_import():
    source = textwrap.dedent("""
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import checked
        else:
            import real
        if __name__ == "__main__":
            import program
        __all__ = ["sub"]
    """).encode()
    found = modules.imports.of_source("own", True, source)
    assert set(found) == {"typing", "typing.TYPE_CHECKING", "real", "own.sub"}


def test_what_cannot_be_read_counts_by_its_texts():
    data = pickle.dumps(("settings", 1), 2)
    assert "settings" not in references.modules(data)
    # Then a number is called.
    assert "settings" in references.modules(data[:-1] + b"K\x02)R.")


# -- whole programs --------------------------------------------------------------------

SETTINGS = "PASSWORD = 'hunter2-of-the-database'\n"
PROGRAM = """
import pickle
from entangle._jobs.packing import pack
from entangle.errors import UnpicklableError
from entangle.testing import RecordedCall, SpoolExecutor
import settings
import helper

{body}

if __name__ == "__main__":
    own = pack(RecordedCall(f, 3), None, "yard").parts[0]
    print(sorted(pickle.loads(own)) if own else [])
    with SpoolExecutor(folder="spool") as yard:
        print(yard.submit(f, 3).result(60))
"""


BY_TEXT = """
from importlib import import_module as load
NAMES = {1: 'late'}
def f(x): return x * load(NAMES[1]).THREE
"""


def programs_words(folder, body):
    """Run a program that a file has, and return what it prints."""
    (folder / "settings.py").write_text(SETTINGS)
    (folder / "helper.py").write_text(
        "import base\ndef twice(n): return base.TWO * n\n"
    )
    (folder / "base.py").write_text("TWO = 2\n")
    (folder / "late.py").write_text("THREE = 3\n")
    (folder / "prog.py").write_text(PROGRAM.format(body=body))
    done = subprocess.run(
        [sys.executable, "prog.py"],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


@pytest.mark.process
@pytest.mark.parametrize(
    ("body", "sent", "value"),
    [
        ("def f(x): return x * x", [], "9"),
        ("def f(x): return helper.twice(x)", ["base", "helper"], "6"),
        ("def f(x):\n    import late\n    return x * late.THREE", ["late"], "9"),
        (
            BY_TEXT,
            ["late"],
            "9",
        ),
        (
            "class Prog: pass\ndef f(x): return 'prog settings', vars(Prog())",
            [],
            "('prog settings', {})",
        ),
    ],
)
def test_a_function_of_a_program_takes_what_it_needs(tmp_path, body, sent, value):
    assert programs_words(tmp_path, body) == [str(sent), value]


@pytest.mark.process
def test_a_program_goes_where_it_is_imported_by_name(tmp_path):
    body = "TEN = 10\ndef f(x):\n    import prog\n    return prog.TEN * x"
    sent = ["base", "helper", "prog", "settings"]
    assert programs_words(tmp_path, body) == [str(sent), "30"]


@pytest.mark.process
def test_what_is_imported_beforehand_travels(package, tmp_path):
    def loaded():
        return "travels.near" in sys.modules

    with SpoolExecutor(folder=str(tmp_path / "spool")) as executor:
        made = task(executor=executor, preload=["travels.near"], fresh=True)
        assert made(loaded)()() is True


# -- secrets ---------------------------------------------------------------------------

SECRET = "a-secret-of-another-account"


@pytest.fixture
def withheld(monkeypatch):
    from entangle._seam import withheld as registry

    monkeypatch.setattr(registry, "_values", {})
    withhold(SECRET)
    withhold("short", "or whatever")


def refused(call):
    with pytest.raises(UnpicklableError) as caught:
        check_secrets(pack(call, None, "yard"), "call")
    return str(caught.value)


def test_what_is_withheld_is_in_no_payload(withheld):
    def function():
        return SECRET

    def short():
        return "short"

    check_secrets(pack(RecordedCall(short), None, "yard"), "call")
    assert "the function" in refused(RecordedCall(function))
    assert "an argument" in refused(RecordedCall(short, [SECRET]))
    large = ["x" * 1000] * 1000 + ["y" * 500_000, SECRET]
    assert "an argument" in refused(RecordedCall(short, large))
    assert SECRET not in refused(RecordedCall(function))
    assert "keep it, and tasks that carry it, out" in refused(RecordedCall(function))
    withhold(SECRET, "use another")
    assert "this process: use another" in refused(RecordedCall(function))


def test_a_module_with_a_secret_is_named(withheld, package, tmp_path):
    (tmp_path / "travels" / "whole.py").write_text(f"ONE = {SECRET!r}\n")
    assert "the module travels.whole" in refused(RecordedCall(package.total, 1))


@pytest.mark.process
def test_an_executor_refuses_it(withheld, tmp_path):
    with SpoolExecutor(folder=str(tmp_path / "spool")) as executor:
        with pytest.raises(UnpicklableError, match="must not leave this process"):
            executor.submit(len, SECRET).result(60)
        assert executor.submit(len, "short").result(60) == 5
