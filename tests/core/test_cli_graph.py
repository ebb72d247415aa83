"""`entangle graph` draws a file's graph in every format, and runs nothing."""

import json
import os
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from entangle._cli.exits import INVALID, OK, USAGE

pytestmark = pytest.mark.process

PROGRAM = """
from pathlib import Path
from entangle.dataflow import dataflow
from entangle.process import process
from entangle.thread import thread

print("loading")

@process
def one(path="x"):
    Path("ran").touch()

@thread
def add(a, b):
    Path("ran").touch()

@dataflow
def emit(value):
    Path("ran").touch()

def many(count=100):
    return add([one(n) for n in range(count)], 0)

def wide():
    nodes = [one()]
    def task(n):
        def function(*args): pass
        function.__qualname__ = f"f{n}"
        return process(function)
    for n in range(50):
        nodes.append(task(n)(*nodes))
    return nodes[-1]

def breaks():
    raise ValueError("no")

PI = 3
flow = emit(emit(), lambda value: None)
result = add(one(), add(one("<script>"), 2))
"""


@pytest.fixture
def entangle_graph(tmp_path):
    """Run `entangle graph` on a name of the program; nothing may run."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def run(name="", *more, file="program.py", **variables):
        done = subprocess.run(
            [sys.executable, "-m", "entangle", "graph", f"{file}{name}", *more],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            check=False,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    yield run
    assert not (tmp_path / "ran").exists()


def test_a_tree(entangle_graph):
    """What a node takes is below it; what the file prints is not on stdout."""
    assert entangle_graph() == (
        OK,
        (
            "add  program.py:39 · thread\n"
            "├─ one  program.py:39\n"
            "└─ add(2)  program.py:39 · thread\n"
            "   └─ one('<script>')  program.py:39\n"
        ),
        "loading\n",
    )


def test_a_flow(entangle_graph):
    code, out, _ = entangle_graph(":flow")
    assert code == OK
    assert out.splitlines()[0] == "emit  program.py:38"
    assert out.splitlines()[2].startswith("└─ <lambda>?  ")


def test_svg(entangle_graph):
    code, out, _ = entangle_graph("", "-f", "svg")
    assert code == OK
    root = ET.fromstring(out)
    assert root.tag.endswith("svg")
    assert "<script" not in out


def test_text_that_others_draw(entangle_graph):
    code, out, _ = entangle_graph("", "--format", "mermaid")
    assert (code, out.splitlines()[0]) == (OK, "flowchart LR")
    code, out, _ = entangle_graph(":many", "-f", "dot")
    assert (code, out.splitlines()[0]) == (OK, 'digraph "add" {')
    assert "one ×100" in out


def test_json_is_complete(entangle_graph):
    code, out, _ = entangle_graph(":many", "-f", "json")
    data = json.loads(out)
    assert code == OK
    assert len(data["nodes"]) == 101
    assert data["edges"][99] == {"from": 99, "to": 100, "kind": "value"}
    assert data["nodes"][5]["label"] == "one(5)"


def test_too_large_for_a_format(entangle_graph):
    code, out, err = entangle_graph(":wide", "-f", "mermaid")
    assert (code, out) == (INVALID, "")
    assert "edges of Mermaid" in err
    assert "-f json" in err


def test_a_stream_that_takes_only_ascii(entangle_graph):
    code, out, _ = entangle_graph("", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert code == OK
    assert out.splitlines()[1] == "|- one  program.py:39"
    _, out, _ = entangle_graph("", "-f", "svg", PYTHONIOENCODING="ascii")
    assert "&#183; thread" in out
    ET.fromstring(out)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        (":PROGRAM", USAGE, "defines no 'PROGRAM'"),
        (":reslt", USAGE, "did you mean 'result'?"),
        (":PI", USAGE, "PI is no node or flow, and makes none"),
        (":breaks", INVALID, "ValueError: no"),
    ],
)
def test_what_is_no_graph(entangle_graph, name, code, words):
    found, out, err = entangle_graph(name)
    assert out == ""
    assert words in err
    assert found == code


def test_misspelt_words(entangle_graph):
    _, _, err = entangle_graph(file="progam.py")
    assert "did you mean 'program.py'?" in err
    code, _, err = entangle_graph("", "-f", "mermiad")
    assert (code, "did you mean 'mermaid'?" in err) == (USAGE, True)
    code, _, err = entangle_graph("", "--fromat", "svg")
    assert (code, "did you mean '--format'?" in err) == (USAGE, True)
