"""`entangle run` prints the value, or says on stderr what failed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from entangle._cli.exits import INTERRUPTED, INVALID, NODE_FAILED, OK, USAGE

pytestmark = pytest.mark.process

PROGRAM = """
import sys
from entangle.process import process
from entangle.thread import thread
from entangle.workflow import workflow

@process
def double(x):
    print("doubling", x)
    return 2 * x

@process
def divide(a, b):
    return a / b

@workflow
def both(x, y=1):
    return [double(x), double(y)]

@thread
def nothing():
    pass

def plain(x=3):
    return double(x)

def runs_itself():
    return divide(1, 0)()

def leaves():
    sys.exit(7)

def surrogate():
    return "é\\ud800"

class Mute:
    def __str__(self):
        raise RuntimeError("no words")

def mute():
    return Mute()

VALUE = 7
result = double(double(1))

if __name__ == "__main__":
    raise SystemError("must not run")
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def entangle(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "entangle", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "constants", "out"),
    [
        ("", [], "doubling 1\ndoubling 2\n4\n"),
        (":result", [], "doubling 1\ndoubling 2\n4\n"),
        (":double", ["x=5"], "doubling 5\n10\n"),
        (":double", ["x='ab'"], "doubling ab\nabab\n"),
        (":double", ["x=ab"], "doubling ab\nabab\n"),
        (":plain", [], "doubling 3\n6\n"),
        (":nothing", [], ""),
    ],
)
def test_value_on_stdout(program, name, constants, out):
    """The value is printed after what the tasks printed; None prints nothing."""
    assert entangle("run", f"{program}{name}", *constants) == (OK, out, "")


def test_a_value_that_cannot_be_written(program, monkeypatch):
    """What stdout can't write is escaped, a value without text is told of."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert entangle("run", f"{program}:surrogate") == (OK, "\\xe9\\ud800\n", "")
    code, out, err = entangle("run", f"{program}:mute")
    assert (code, out) == (NODE_FAILED, "")
    assert "a Mute, has no text" in err
    assert "RuntimeError: no words" in err


def test_a_full_disk(program):
    """That stdout can't be written is said, without a traceback of ours."""
    for command in ("run", "graph"):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run(
                [sys.executable, "-m", "entangle", command, program],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == NODE_FAILED
        assert done.stderr.startswith("entangle: stdout can't be written: No space")


def test_workflow_with_arguments(program):
    """A workflow is called with the constants of the command line."""
    code, out, err = entangle("run", f"{program}:both", "x=2")
    assert (code, err) == (OK, "")
    assert sorted(out.splitlines()) == ["[4, 2]", "doubling 1", "doubling 2"]


def test_limits(program):
    """Workers and timeout are handed to the run."""
    limits = ["--workers", "1", "--timeout", "60"]
    code, out, _ = entangle("run", f"{program}:both", "x=2", *limits)
    assert code == OK
    assert out.splitlines()[-1] == "[4, 2]"


@pytest.mark.parametrize("name", ["divide", "runs_itself"])
def test_failed_node(program, name):
    """Exit code 1; the error, the node and the user's own line, nothing of ours."""
    constants = ["a=1", "b=0"] if name == "divide" else []
    code, out, err = entangle("run", f"{program}:{name}", *constants)
    assert (code, out) == (NODE_FAILED, "")
    assert err.startswith("✗ divide failed")
    assert "ZeroDivisionError: division by zero" in err
    assert "return a / b" in err
    assert "  a = 1\n  b = 0\n" in err
    command = f"entangle run {program}:{name}"
    assert f"\n  again      {command}" in err
    assert f"\n  debug      ENTANGLE_INLINE=1 {command}" in err
    assert "_cli" not in err


@pytest.mark.parametrize(
    ("name", "constants", "hint"),
    [
        ("VALUE", [], "is a value (int), not a node or a task"),
        ("result", ["x=1"], "takes no arguments"),
        ("double", ["x"], "not of the form KEY=VALUE"),
        ("doubel", [], "did you mean 'double'?"),
    ],
)
def test_usage(program, name, constants, hint):
    """Exit code 2 and one line that says what can be done."""
    code, out, err = entangle("run", f"{program}:{name}", *constants)
    assert (code, out) == (USAGE, "")
    assert hint in err


@pytest.mark.parametrize("limit", [["--workers", "0"], ["--timeout", "-1"]])
def test_bad_limits(program, limit):
    """A limit that makes no sense is refused."""
    assert entangle("run", str(program), *limit)[0] == USAGE


def test_wrong_arguments(program):
    """A call that doesn't fit the task builds no graph: exit code 3."""
    code, _, err = entangle("run", f"{program}:double", "y=1")
    assert code == INVALID
    assert "builds no graph" in err
    assert "TypeError" in err


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("1 +", "SyntaxError"),
        ("import no_such_module_here", "no_such_module_here"),
        (
            """
from entangle.process import process
from entangle.thread import thread
@process
@thread
def f(): pass
""",
            "CompositionError",
        ),
    ],
)
def test_file_that_does_not_load(tmp_path, source, hint):
    """A broken file is an invalid graph: exit code 3, and the user's frames."""
    path = tmp_path / "broken.py"
    path.write_text(source)
    code, out, err = entangle("run", str(path))
    assert (code, out) == (INVALID, "")
    assert "can't be loaded" in err
    assert hint in err
    assert "importlib" not in err


def test_hidden_module(tmp_path):
    """A file named like a module in use is refused: exit code 3."""
    path = tmp_path / "argparse.py"
    path.write_text("x = 1")
    code, _, err = entangle("run", str(path))
    assert code == INVALID
    assert "rename the file" in err


def test_exit_of_the_users_code(program):
    """`sys.exit` in the user's builder keeps its code."""
    assert entangle("run", f"{program}:leaves")[0] == 7


def test_interrupted(tmp_path):
    """Ctrl-C: exit code 130, at once, without a traceback."""
    path = tmp_path / "sleeper.py"
    path.write_text(
        "import time\nfrom entangle.process import process\n"
        "@process\ndef main():\n    print('asleep', flush=True)\n    time.sleep(60)\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "entangle", "run", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running:
        assert running.stdout.readline() == "asleep\n"
        started = time.monotonic()
        os.kill(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=30)
    assert running.returncode == INTERRUPTED
    assert err == "entangle: interrupted\n"
    assert time.monotonic() - started < 30


def test_a_place_that_is_not_there_is_no_nodes_failure(tmp_path):
    path = tmp_path / "elsewhere.py"
    path.write_text(
        "from entangle.task import task\n"
        "@task(executor='nowhere')\n"
        "def far(): return 1\n"
        "result = far()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "entangle", "run", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == INVALID
    assert "no executor named 'nowhere' is registered" in done.stderr
