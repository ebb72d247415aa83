"""Functions from anywhere: scripts, prompts, pipes, notebooks, closures, objects."""

import functools
import math
import operator
import os
import pty
import subprocess
import sys
import textwrap

import pytest
from life_kit import Program, end, output_of, until

from entangle.process import process

pytestmark = pytest.mark.process

SCRIPT = textwrap.dedent(
    """\
    from entangle.process import process

    class Point:
        def __init__(self, x): self.x = x
        def __eq__(self, other): return type(other) is Point and other.x == self.x

    class Failure(Exception):
        pass

    SCALE = 3

    def helper(x):
        return x * SCALE

    @process
    def scaled(point, more=0):
        return Point(helper(point.x) + more)

    @process
    def fail():
        raise Failure("of main")

    @process
    def nested(x):
        return scaled(Point(x))().x
    """
)
USE = textwrap.dedent(
    """\
    value = scaled(scaled(Point(2)), more=1)()
    assert type(value) is Point, type(value)
    assert value == Point(19)
    try:
        fail()()
    except Failure as error:
        print("own type", error)
    print("nested", nested(5)())
    """
)
SAID = "own type of main\nnested 15\n"


def test_functions_of_a_script(tmp_path):
    assert output_of(SCRIPT + USE, path=tmp_path / "script.py") == SAID


def test_functions_of_a_command():
    assert output_of(SCRIPT + USE) == SAID


def test_functions_of_standard_input():
    process = subprocess.run(
        [sys.executable, "-W", "error", "-"],
        input=SCRIPT + USE,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (process.stdout, process.stderr) == (SAID, "")


def test_functions_of_a_prompt_fed_by_a_pipe():
    prompts = "\n".join(
        part.replace("\n", "\n") + "\n" for part in (SCRIPT + USE).split("\n\n")
    )
    process = subprocess.run(
        [sys.executable, "-i", "-q"],
        # A prompt wants a blank line after each block.
        input=_for_prompt(SCRIPT + USE) + "\nexit()\n",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert prompts
    assert "own type of main" in process.stdout
    assert "nested 15" in process.stdout


def test_functions_of_a_prompt_on_a_terminal():
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-q"],
        stdin=child,
        stdout=child,
        stderr=child,
        env=os.environ | {"PYTHONSTARTUP": "", "TERM": "dumb"},
        start_new_session=True,
    )
    os.close(child)
    seen = []

    def said(text):
        def look():
            seen.append(os.read(parent, 65536).decode())
            return text in "".join(seen)

        return look

    try:
        until(said(">>> "))
        for line in (_for_prompt(SCRIPT + USE)).splitlines():
            os.write(parent, line.encode() + b"\n")
        until(said("nested 15"))
        os.write(parent, b"exit()\n")
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(parent)
    assert "own type of main" in "".join(seen)


def _for_prompt(text):
    lines = []
    for line in text.splitlines():
        if not line:
            continue
        indented = line.startswith((" ", "except", "@process", "def", "class"))
        starts = line.startswith(("@process", "class"))
        if lines and lines[-1].startswith(" ") and (not indented or starts):
            lines.append("")
        if line.startswith("def") and lines and lines[-1].startswith(" "):
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"


def test_functions_of_a_notebook():
    """Cells are executed in the namespace of a module that no file holds."""
    out = output_of(
        f"""
import sys, types
main = types.ModuleType("__main__")
sys.modules["__main__"] = main
cells = {SCRIPT + USE!r}.split("\\n\\n")
for number, cell in enumerate(cells):
    exec(compile(cell, f"<cell {{number}}>", "exec"), main.__dict__)
exec("SCALE = 5", main.__dict__)
exec("print(scaled(Point(1))().x)", main.__dict__)
"""
    )
    assert out == SAID + "5\n"


def test_functions_of_a_bare_namespace():
    namespace = {"__name__": "nowhere"}
    exec(SCRIPT + USE.partition("try")[0], namespace)
    assert namespace["value"].x == 19


def test_a_function_redefined_at_the_prompt():
    out = output_of(
        """
from entangle.process import process
@process
def f(): return 1
print(f()())
@process
def f(): return 2
print(f()())
"""
    )
    assert out == "1\n2\n"


def test_functions_of_a_module_beside_the_script(tmp_path):
    (tmp_path / "beside.py").write_text(SCRIPT)
    out = output_of("from beside import *\n" + USE, path=tmp_path / "script.py")
    assert out == SAID


def test_a_script_without_a_guard_runs_once(tmp_path):
    out = output_of(
        "print('top')\n" + SCRIPT + "print(scaled(Point(1))().x)\n",
        path=tmp_path / "script.py",
    )
    assert out == "top\n3\n"


def test_a_closure():
    def adder(number):
        state = [number]

        @process
        def add(other):
            return state[0] + other

        return add, state

    add, state = adder(5)
    assert add(1)() == 6
    state[0] = 7
    assert add(1)() == 8


def test_a_lambda():
    assert process(lambda x, y=2: x * y)(4)() == 8
    assert process(lambda: [lambda: 5])()()[0]() == 5


class Counter:
    def __init__(self, start):
        self.start = start

    def __call__(self, by):
        return self.start + by

    @process
    def method(self, by):
        return self.start + by

    @staticmethod
    @process
    def static(number):
        return number + 1

    @classmethod
    def build(cls, number):
        return cls(number).start

    def plain(self, by):
        return self.start * by


def test_a_method():
    assert Counter(4).method(2)() == 6
    assert Counter.method(Counter(5), 2)() == 7
    assert Counter.static(1)() == 2
    assert process(Counter(4).plain)(3)() == 12
    assert process(Counter.build)(3)() == 3


def test_a_partial():
    assert process(functools.partial(pow, 2))(5)() == 32
    assert process(functools.partial(int, base=2))("101")() == 5
    assert process(functools.partial(Counter(1), by=4))()() == 5


def test_a_callable_object():
    assert process(Counter(10))(1)() == 11
    assert process(operator.itemgetter(1))([1, 2])() == 2


@pytest.mark.parametrize(
    ("function", "args", "value"),
    [
        (len, ([1, 2],), 2),
        (math.sqrt, (4.0,), 2.0),
        (operator.add, (1, 2), 3),
        ("a,b".split, (",",), ["a", "b"]),
        (str.upper, ("a",), "A"),
        (max, (1, 3, 2), 3),
    ],
)
def test_a_builtin(function, args, value):
    assert process(function)(*args)() == value


def test_a_class():
    assert process(dict)(a=1)() == {"a": 1}
    assert process(Counter)(3)().start == 3
    assert type(process(Counter)(3)()) is Counter


def test_a_cached_and_a_wrapped_function():
    @process
    @functools.lru_cache
    def cached(number):
        return number + 1

    @functools.wraps(len)
    def wrapped(*args):
        return len(*args)

    assert cached(1)() == 2
    assert process(wrapped)("abc")() == 3


def test_a_generator_function_is_refused():
    def generate():
        yield 1

    with pytest.raises(TypeError, match="flow.stream"):
        process(generate)


def test_no_entry_point_metadata(tmp_path):
    """The sources on the path alone, with no distribution of ours installed."""
    import cloudpickle
    import pluggy

    import entangle.process as ours

    site = tmp_path / "site"
    site.mkdir()
    for module in (cloudpickle, pluggy):
        folder = os.path.dirname(module.__file__)
        (site / os.path.basename(folder)).symlink_to(folder)
    source = os.path.dirname(os.path.dirname(ours.__file__))
    running = Program(
        [sys._base_executable, "-s", "-S", "-W", "error", "-c", SCRIPT + USE],
        PYTHONPATH=os.pathsep.join([source, str(site)]),
    )
    assert end(running) == (0, SAID, "")


def test_a_worker_without_an_executable():
    out = output_of(
        """
import sys
from entangle.process import process
from entangle.thread import thread
from entangle.errors import WorkerStartError
sys.executable = ""
try:
    process(abs)(-1)()
except WorkerStartError as error:
    print("sys.executable" in str(error))
print(thread(abs)(-1)())
"""
    )
    assert out == "True\n1\n"
