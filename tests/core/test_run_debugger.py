"""`breakpoint()` in tasks with ENTANGLE_INLINE=1, on a real terminal."""

import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.process

PROGRAM = """
import sys
from entangle.process import process
from entangle.thread import thread
from entangle.workflow import workflow
from entangle.dataflow import dataflow

@process
def of_process(items):
    items.append(1)
    breakpoint()
    return sum(items)

@thread
def of_thread(value):
    breakpoint()
    return value

@thread
async def of_loop(value):
    breakpoint()
    return value

@workflow
def of_workflow(value):
    breakpoint()
    return of_thread(value)

@process
def of_nested(value):
    return of_process([value])() + 1

@dataflow
def of_flow(value):
    breakpoint()
    return value

@process(retry=5)
def again(value):
    breakpoint()
    return value

given = [1, 2]
def program():
    return of_process(given)
"""
RUN = "print('result', program()(), given)\n"


class Terminal:
    """A program on a terminal of its own, and what it has written there."""

    def __init__(self, *command, **variables):
        self._ours, theirs = pty.openpty()
        self.program = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "ENTANGLE_INLINE": "1", "TERM": "dumb", **variables},
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.program.poll() is None:
            self.program.kill()
        self.program.wait()
        os.close(self._ours)

    def until(self, words):
        """Read until some words come; return what was read."""
        text, deadline = "", time.monotonic() + 60
        while words not in text:
            ready, _, _ = select.select(
                [self._ours], [], [], deadline - time.monotonic()
            )
            assert ready, text
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # it has gone
                data = b""
            assert data, text
            text += data.decode()
        return text.replace("\r", "")

    def type(self, line):
        """Type a line, as the program's user."""
        os.write(self._ours, f"{line}\n".encode())


def script(tmp_path, call):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM + f"print('result', {call}, given)\n")
    return [sys.executable, str(path)]


@pytest.mark.parametrize(
    ("call", "expression", "shown", "stops", "result"),
    [
        ("of_process(given)()", "items", "[1, 2, 1]", 1, "4 [1, 2]"),
        ("of_thread(given)()", "value", "[1, 2]", 1, "[1, 2] [1, 2]"),
        ("of_loop(7)()", "value", "7", 1, "7 [1, 2]"),
        ("of_workflow(7)()", "value", "7", 2, "7 [1, 2]"),
        ("of_nested(7)()", "items", "[7, 1]", 1, "9 [1, 2]"),
        ("of_flow(of_flow())(7)", "value", "7", 2, "(7,) [1, 2]"),
        ("of_thread(of_process(given)).submit().result()", "1 + 1", "2", 2, "4 [1, 2]"),
    ],
)
def test_a_breakpoint(tmp_path, call, expression, shown, stops, result):
    """The prompt reads what is typed, values are there, the run goes on after it."""
    with Terminal(*script(tmp_path, call)) as terminal:
        for _ in range(stops):
            terminal.until("(Pdb) ")
            terminal.type(f"p {expression}")
            assert f"\n{shown}\n" in terminal.until("(Pdb) ")
            terminal.type("w")
            assert "program.py(" in terminal.until("(Pdb) ")
            terminal.type("c")
        terminal.until(f"result {result}\r\n")
        assert terminal.program.wait(60) == 0


def test_leaving_the_debugger_ends_the_run(tmp_path):
    """Without another attempt, whatever retry= says."""
    with Terminal(*script(tmp_path, "again(1)()")) as terminal:
        terminal.until("(Pdb) ")
        terminal.type("q")
        text = terminal.until("bdb.BdbQuit")
        assert "(Pdb)" not in text
        assert terminal.program.wait(60) == 1


def test_by_the_command_line(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    target = f"{tmp_path / 'program.py'}:program"
    with Terminal(sys.executable, "-m", "entangle", "run", target) as terminal:
        terminal.until("(Pdb) ")
        terminal.type("p items")
        assert "[1, 2, 1]" in terminal.until("(Pdb) ")
        terminal.type("c")
        assert re.search(r"^4$", terminal.until("4\r\n"), re.MULTILINE)
        assert terminal.program.wait(60) == 0
