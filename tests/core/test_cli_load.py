"""`entangle run FILE[:name]` finds what the file defines."""

import subprocess
import sys
from pathlib import Path

import pytest

from entangle._cli.exits import InvalidError, UsageError
from entangle._cli.load import find, load, split

TASKS = """
from entangle.thread import thread

@thread
def one():
    return 1

@thread
def main(x=2):
    return x
"""


@pytest.fixture(autouse=True)
def _restored():
    """Undo what loading a file changes in the interpreter."""
    modules, path, argv = dict(sys.modules), list(sys.path), list(sys.argv)
    yield
    sys.path[:], sys.argv[:] = path, argv
    for name in set(sys.modules) - set(modules):
        if name.startswith("loaded_"):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path):
    def write(source, name="loaded_file.py"):
        path = tmp_path / name
        path.write_text(source)
        return path

    return write


def found(path, name=None):
    return find(load(path, [str(path)]), name, path)


@pytest.mark.parametrize(
    ("text", "path", "name"),
    [
        ("a.py", "a.py", None),
        ("a.py:f", "a.py", "f"),
        ("a:b/c.py:f", "a:b/c.py", "f"),
        ("a.py:not a name", "a.py:not a name", None),
    ],
)
def test_split(text, path, name):
    """The last colon divides, if a name follows."""
    assert split(text) == (Path(path), name)


def test_split_of_a_file_with_a_colon(write):
    """A colon in the name of a file that exists belongs to it."""
    path = write("", "odd:name")
    assert split(str(path)) == (path, None)


def test_only_node(write):
    """The file's only node is meant, under however many names."""
    path = write(TASKS + "graph = one()\nagain = graph\n_hidden = one()\n")
    module = load(path, ["x"])
    assert find(module, None, path) is module.graph


@pytest.mark.parametrize("other", ["result = one()", "main = one()"])
def test_default_names(write, other):
    """Among several nodes, `result`, then `main`."""
    path = write(TASKS + f"graph = one()\n{other}\n")
    module = load(path, ["x"])
    assert find(module, None, path) is getattr(module, other.partition(" ")[0])


def test_main_task(write):
    """Without nodes, the task `main`."""
    path = write(TASKS)
    assert found(path) is sys.modules["loaded_file"].main


def test_by_name(write):
    """A name says it all."""
    path = write(TASKS + "VALUE = 7\n")
    assert found(path, "VALUE") == 7


@pytest.mark.parametrize(
    ("source", "name", "hint"),
    [
        (TASKS, "mian", "did you mean 'main'?"),
        ("from entangle.thread import thread\na=thread(str)()\nb=thread(str)()\n",
         None, "has 2 graphs (a, b): say which"),
        ("x = 1\n", None, "no node, no `result` and no `main`"),
    ],
)  # fmt: skip
def test_nothing_to_choose(write, source, name, hint):
    """What can't be found is answered with what can."""
    with pytest.raises(UsageError) as caught:
        found(write(source), name)
    assert hint in str(caught.value)


def test_loaded_as_a_module(write):
    """Its name is the file's, its folder comes first, its argv is a script's."""
    path = write(
        "import sys\nassert __name__ == 'loaded_file'\nargv = list(sys.argv)\n"
    )
    module = load(path, ["file", "k=v"])
    assert module.argv == ["file", "k=v"]
    assert sys.path[0] == str(path.parent)
    assert sys.modules["loaded_file"] is module


@pytest.mark.process
def test_safe_path_is_kept(write):
    """With -P no entry of sys.path is given up."""
    program = "from entangle._cli.load import *; load(Path(sys.argv[1]), [])"
    path = write("import sys; print(sys.path[0]); print(*sys.path[1:], sep=':')")
    bare = [sys.executable, "-P", "-c", "import sys; print(*sys.path, sep=':')"]
    loaded = [sys.executable, "-P", "-c", program, path]
    before, after = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for command in (bare, loaded)
    )
    assert after == f"{path.parent}\n{before}"


def test_no_such_file():
    """A missing file is a usage error."""
    with pytest.raises(UsageError, match="no file"):
        load(Path("/nowhere/at/all.py"), [])


def test_unimportable_name(write):
    """A file that workers couldn't import is refused before it runs."""
    with pytest.raises(UsageError, match="rename it"):
        load(write("raise SystemError", "not-a-name.py"), [])


def test_name_of_a_module_in_use(write):
    """A file may not take the place of a module that this process uses."""
    with pytest.raises(InvalidError, match="would hide the module 'argparse'"):
        load(write("raise SystemError", "argparse.py"), [])
