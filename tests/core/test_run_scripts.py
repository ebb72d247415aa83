"""Whole programs, as users write them: no guard, functions beside the calls."""

import os
import subprocess
import sys
import textwrap

import pytest


@pytest.fixture
def program(tmp_path):
    """Run a program and return what it printed."""

    def run(text, *, stdin=False, code=0):
        source = textwrap.dedent(text)
        file = tmp_path / "program.py"
        file.write_text(source)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-" if stdin else file.name],
            input=source if stdin else "",
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": ""},
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    return run


ARITHMETIC = """
    from entangle.process import process

    @process
    def four():
        return 4

    @process
    def six():
        return 6

    @process
    def product(a, b):
        print(f"product of {a} and {b}")
        return a * b

    @process
    def difference(a, b):
        return a - b

    print(difference(product(four(), six()), four())())
    """


@pytest.mark.parametrize("stdin", [False, True])
def test_a_graph_of_processes(program, stdin):
    done = program(ARITHMETIC, stdin=stdin)
    assert done.stdout == "product of 4 and 6\n20\n"
    assert done.stderr == ""


def test_processes_on_this_machine(program):
    done = program(
        """
        import os
        from entangle.local import local
        from entangle.process import process

        @process
        @local
        def first():
            return os.getpid()

        @local(cpus=1)
        @process
        def second(pid):
            return pid, os.getpid(), len(os.sched_getaffinity(0))

        one, two, cpus = second(first())()
        print(one != os.getpid(), two != os.getpid(), cpus)
        """
    )
    assert done.stdout == "True True 1\n"


def test_threads_share_what_they_are_given(program):
    done = program(
        """
        from entangle.process import process
        from entangle.thread import thread

        shelf = []

        @thread
        def put(item):
            shelf.append(item)
            return shelf

        @process
        def count(items):
            return len(items)

        @thread
        async def later(items):
            return [item.upper() for item in items]

        print(put("a")() is shelf, count(put("b"))(), later(shelf)())
        """
    )
    assert done.stdout == "True 2 ['A', 'B']\n"


def test_a_workflow_passed_to_another(program):
    done = program(
        """
        import json
        from entangle.process import process
        from entangle.thread import thread
        from entangle.workflow import workflow

        @thread
        def reading():
            return json.loads('{"year": 1999}')["year"]

        @process
        def plus(a, b):
            return a + b

        @workflow
        def inner():
            return plus(reading(), 1)

        @workflow
        def outer(flow, extra):
            return plus(flow(), extra)

        whole = outer(inner, 20)
        print(whole())
        """
    )
    assert done.stdout == "2020\n"


def test_parts_of_a_value_go_their_own_ways(program):
    done = program(
        """
        from entangle.process import process

        @process
        def split():
            return {"left": [1, 2], "right": [3]}

        @process
        def total(values):
            return sum(values)

        @process
        def compare(a, b):
            return a == b

        data = split()
        print(compare(total(data("left")), total(data["right"]))())
        """
    )
    assert done.stdout == "True\n"


def test_waiting_for_arguments(program):
    done = program(
        """
        import time
        from entangle.process import process, ProcessTimeoutException

        @process
        def quick():
            return 1

        @process
        def slow():
            time.sleep(100)

        @process(wait=60)
        def patient(*values):
            return list(values)

        @process(wait=0.2)
        def hasty(*values):
            return list(values)

        print(patient(quick(), quick())())
        try:
            hasty(quick(), slow())()
        except ProcessTimeoutException as error:
            print(error.phase, error.seconds, error.node)
        """
    )
    assert done.stdout == "[1, 1]\nwait 0.2 hasty\n"


def test_a_body_that_takes_too_long(program):
    done = program(
        """
        import os, sys, time
        from entangle.process import process, ProcessTimeoutException

        @process(timeout=0.3)
        def slow(path):
            with open(path, "w") as file:
                file.write(str(os.getpid()))
            time.sleep(100)

        @process
        def quick():
            return False

        try:
            slow("pid")()
        except ProcessTimeoutException as error:
            print(error.phase, isinstance(error, TimeoutError))
        pid = int(open("pid").read())
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            print("ended")
        print(quick()())
        """
    )
    assert done.stdout == "body True\nended\nFalse\n"


def test_failures_are_shown_with_both_tracebacks(program):
    done = program(
        """
        from entangle.process import process

        @process
        def parse(text):
            return int(text)

        @process
        def double(n):
            return 2 * n

        double(parse("two"))()
        """,
        code=1,
    )
    assert "ValueError: invalid literal" in done.stderr
    assert "return int(text)" in done.stderr
    assert "in node parse (" in done.stderr
    assert "needed by double (" in done.stderr
    assert done.stderr.index("double(parse") < done.stderr.index("return int(text)")


def test_submitted_runs_are_awaited_at_the_end(program):
    done = program(
        """
        from entangle.process import process

        @process
        def late():
            print("done")

        late().submit()
        """
    )
    assert done.stdout == "done\n"


def test_everything_in_one_thread(program, monkeypatch):
    monkeypatch.setenv("ENTANGLE_INLINE", "1")
    assert program(ARITHMETIC).stdout == "product of 4 and 6\n20\n"
