"""Every example runs as a program of its own and prints what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.process


def run(*command, cwd="/", code=0):
    """Run a command; return its stdout, and its stderr, as text."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def example(name):
    """Run an example from a foreign folder; it prints nothing on stderr."""
    out, err = run(sys.executable, EXAMPLES / name)
    assert err == ""
    return out.splitlines()


def test_every_example_is_tested():
    """A new example needs a test here."""
    source = Path(__file__).read_text()
    untested = [p.name for p in EXAMPLES.glob("*.py") if f'"{p.name}"' not in source]
    assert not untested


def test_elsewhere():
    """Calls run in another folder, in a Python that has no files of ours."""
    lines = example("elsewhere.py")
    assert sorted(lines) == [*["counting in /"] * 3, "words 6"]
    assert lines[-1] == "words 6"


def test_arithmetic():
    """Five calls, each once, arguments before their consumers; all elsewhere."""
    lines = example("arithmetic.py")
    assert lines[-1] == "result 5"
    body = lines[:-1]
    caller = body.pop(0).removeprefix("caller is process ")
    assert len(body) == 5
    assert body.index("mult  1 * 2") < body.index("add   2 + 3")
    for name in ("one  ", "two  ", "three"):
        (line,) = (line for line in body if line.startswith(name))
        pid = line.rpartition(" ")[2]
        assert pid.isdigit()
        assert pid != caller


def test_composition():
    """The same quote by two pricing workflows."""
    assert example("composition.py") == ["net   470", "gross 558"]


def test_dataflow():
    """One measurement, told and pushed on; a call only where it is worth one."""
    assert example("dataflow.py") == [
        "north",
        "  read -> [0, 2, 8, 12, 8]",
        "  report -> 12, 6",
        "  ('12, 6',)",
        "cab",
        "  read -> [18, 14, 16]",
        "  report -> 18, 16",
        "  ('18, 16', 'somebody should look at 18')",
    ]


def test_dataflow_stream():
    """Primes in order, and no further than the buffer."""
    assert example("dataflow_stream.py") == [
        "1000003 is prime",
        "1000033 is prime",
        "1000037 is prime",
        "drawn ahead of what was needed: at most 8: True",
    ]


def test_deadlines():
    """Each deadline names its phase, node and seconds; the retry succeeds."""
    timeout, wait, retry, within = example("deadlines.py")
    assert re.fullmatch(r"timeout: body of stuck.*, after 0\.3 s", timeout)
    assert re.fullmatch(r"wait: wait of both.*, after 0\.3 s", wait)
    assert retry == "retry: answered at attempt 3"
    assert within == "all of it within 30 s: True"


def test_places():
    """Threads share the caller's list, the process gets the one CPU it leased."""
    squares = sum(n * n for n in range(100_000))
    cpus = 1 if hasattr(os, "sched_getaffinity") else r"\d+"
    line, notes = example("places.py")
    assert re.fullmatch(f"noted 1; 2 waits; squares {squares} on {cpus} CPU", line)
    assert notes == "the caller's notes: ['hello']"


def test_stdlib_index():
    """The parallel index of hundreds of real modules equals the plain loop's."""
    out, err = run(sys.executable, EXAMPLES / "stdlib_index.py")
    lines = out.splitlines()
    assert lines[-1] == "same as a plain loop: True"
    counts = dict(re.fullmatch(r"(\w+) +([\d,]+)", line).groups() for line in lines[:6])
    assert int(counts["modules"].replace(",", "")) > 300
    assert re.fullmatch(r"parallel [\d.]+ s, loop [\d.]+ s \([\d.]+x\)\n", err)


def test_primes():
    """Every segment lands once, and the total is the known one."""
    lines = example("primes.py")
    assert lines[-1] == "148933 primes below 2000000"
    assert lines[:-1] == [f"{n} of 8 segments" for n in range(1, 9)]


def test_failures():
    """Own exception types, failures in place, and a died process."""
    own, *in_place, died = example("failures.py")
    assert own == "BadRowError: row 3: not a number (row 3)"
    values = ["0", "10", "20", "BadRowError('row 3: not a number')", "40"]
    assert in_place == [f"in place: {value}" for value in values]
    assert died == "died of signal 9; the next call works: 10"


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["arithmetic.py"], "5"),
        (["arithmetic.py:two"], "2"),
        (["composition.py:net", "order=['desk', 'lamp']"], "290"),
    ],
    ids=["node", "task", "workflow"],
)
def test_command_runs_examples(arguments, value):
    """`entangle run` runs a module's node, or a task by its name."""
    out, err = run(sys.executable, "-m", "entangle", "run", *arguments, cwd=EXAMPLES)
    assert out.splitlines()[-1] == value
    assert err == ""


def test_resume():
    """What a killed program has computed is not computed again."""
    lines = example("resume.py")
    first, second, third = (
        part.splitlines() for part in "\n".join(lines).split("run that ")[1:]
    )
    assert first == ["dies:", "computing 2019", "computing 2020", "killed"]
    assert sorted(second) == [
        "computing 2021",
        "computing 2022",
        "computing the mean",
        "ends:",
        "mean 30.75",
    ]
    assert third == ["ends:", "mean 30.75"]


def test_vectors():
    """Both ways come to the same."""
    (line,) = example("vectors.py")
    one, two = map(float, re.findall(r"\d+\.\d+", line))
    assert one == two > 0
