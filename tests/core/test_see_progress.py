"""Progress on a real terminal, and wherever there is none."""

import io
import os
import re
import subprocess
import sys
import threading
import time
import types

import pytest
from terminal_kit import Terminal

from entangle._see import live, progress
from entangle._see.lines import duration, head, plain, summary, tree
from entangle._see.state import RunState
from entangle.errors import OptionError
from entangle.process import process
from entangle.run import (
    NodeAdded,
    NodeEnded,
    NodeOutput,
    NodeStarted,
    RunEnded,
    RunStarted,
)
from entangle.run import progress as shown
from entangle.thread import thread

HEAD = """
import os, sys, time
from entangle.process import process
from entangle.thread import thread
from entangle.task import gather
from entangle.run import progress

def rest(seconds=0.3):
    time.sleep(seconds)
    return 1

def total(values):
    time.sleep(0.3)
    return sum(values)
"""
GRAPH = (
    HEAD
    + """
rest, total = process(rest), process(total)
with progress():
    print(total(gather(rest(), rest()))())
"""
)
PICTURE = re.compile(r"[├└│]|[●○✓✗] ")


def program(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(text)
    return path


def drawn(frames):
    """Return the frames on which a tree is to be seen."""
    return [frame for frame in frames if any(re.match("[├└]", line) for line in frame)]


@pytest.mark.process
def test_a_tree_is_drawn_and_a_line_is_left(tmp_path):
    seen = Terminal().run(program(tmp_path, GRAPH))
    assert seen.code == 0
    frames = drawn(seen.frames)
    assert frames
    assert any("total  0/3 · " in frame[0] for frame in frames)
    assert any("● rest" in line and "process" in line for f in frames for line in f)
    assert any(line.endswith("○ total") for line in frames[0])
    last = seen.lines()
    assert re.fullmatch(
        r"✓ 3 nodes in [\d.]+ s · critical path rest → total( · [\d.]+× parallel)?",
        last[0],
    )
    assert last[1:] == ["2"]


@pytest.mark.process
def test_stdout_is_the_users(tmp_path):
    seen = Terminal().run(program(tmp_path, GRAPH), pipe=True)
    assert seen.out == "2\n"
    assert drawn(seen.frames)
    assert len(seen.lines()) == 1


@pytest.mark.process
def test_short_runs_are_not_shown(tmp_path):
    patient = "from entangle._see.progress import Progress\n"
    patient += "Progress.__init__.__kwdefaults__['patience'] = 60\n"
    seen = Terminal().run(program(tmp_path, patient + GRAPH))
    assert seen.lines() == ["2"]
    assert b"\x1b" not in seen.raw


PRINTS = (
    HEAD
    + """
def say(n):
    for part in range(5):
        print(f"task {n} says {part}")
        time.sleep(0.05)
    return n

def aside(n):
    for part in range(5):
        sys.stderr.write(f"thread {n} says {part}\\n")
        time.sleep(0.05)

tasks = [process(say)(n) for n in range(4)] + [thread(aside)(n) for n in range(3)]
with progress():
    future = gather(*tasks).submit()
    for n in range(10):
        print(f"the program says {n}")
        time.sleep(0.05)
    future.result()
"""
)


@pytest.mark.process
def test_what_is_printed_appears_above_whole_and_once(tmp_path):
    seen = Terminal(columns=60, rows=12).run(program(tmp_path, PRINTS))
    assert seen.code == 0
    assert drawn(seen.frames)
    lines = seen.lines()
    expected = [f"task {n} says {part}" for n in range(4) for part in range(5)]
    expected += [f"thread {n} says {part}" for n in range(3) for part in range(5)]
    expected += [f"the program says {n}" for n in range(10)]
    printed = [line for line in lines if "says" in line]
    assert sorted(printed) == sorted(expected)
    # Nothing of the picture is left between them.
    rest = [line for line in lines if line not in expected]
    assert len(rest) == 1
    assert rest[0].startswith("✓ 7 nodes")


@pytest.mark.process
def test_half_a_line_is_not_drawn_upon(tmp_path):
    text = (
        HEAD
        + """
with progress():
    future = process(rest)(2).submit()
    time.sleep(0.5)
    print("password: ", end="", flush=True)
    time.sleep(0.4)
    print("given")
    future.result()
"""
    )
    seen = Terminal().run(program(tmp_path, text))
    assert "password: given" in seen.lines()


@pytest.mark.process
def test_a_small_terminal_is_not_overfull(tmp_path):
    text = (
        HEAD
        + """
rest = process(rest)
with progress():
    gather(*[rest(0.02) for _ in range(60)])()
"""
    )
    rows = 6
    # What variables say is of another terminal.
    other = {"COLUMNS": "80", "LINES": "25"}
    seen = Terminal(columns=30, rows=rows).run(program(tmp_path, text), env=other)
    assert seen.code == 0
    frames = drawn(seen.frames)
    assert frames
    for frame in frames:
        # Whatever else was written to stderr stands above the picture.
        heads = [at for at, text in enumerate(frame) if re.search(r" \d+/60\b", text)]
        assert len(frame[heads[-1] :]) < rows, frame
    assert any("…" in line for frame in frames for line in frame)
    assert len(seen.lines()) <= 4  # the last line, folded


@pytest.mark.process
def test_the_window_is_resized(tmp_path):
    """What was printed is never lost, whatever is left of an older picture."""
    text = (
        HEAD
        + """
rest = process(rest)
with progress():
    future = gather(*[rest(0.1) for _ in range(20)]).submit()
    for n in range(12):
        print(f"line {n}")
        time.sleep(0.08)
    future.result()
"""
    )
    sizes = [(40, 40), (100, 40), (25, 30), (80, 24)]

    def resize(terminal):
        if sizes and len(terminal.frames) % 5 == 0:
            terminal.size(*sizes.pop())

    seen = Terminal().run(program(tmp_path, text), on_frame=resize)
    assert seen.code == 0
    lines = seen.lines()
    assert [line for line in lines if line.startswith("line")] == [
        f"line {n}" for n in range(12)
    ]


@pytest.mark.process
def test_a_failing_run_is_summed_up(tmp_path):
    text = (
        HEAD
        + """
def fail(value):
    time.sleep(0.4)
    raise ValueError("\\x1b[2Jgone")
try:
    process(total)([process(fail)(process(rest)())]).run(progress=True)
except ValueError:
    print("raised")
"""
    )
    seen = Terminal().run(program(tmp_path, text))
    last = seen.lines()
    assert re.fullmatch(
        r"✗ failed after [\d.]+ s · 1 of 3 nodes done · fail failed.*", last[0]
    )
    assert last[-1] == "raised"
    assert b"\x1b[2J" not in seen.raw


@pytest.mark.process
def test_a_run_that_is_interrupted_leaves_the_terminal_clean(tmp_path):
    text = (
        HEAD
        + """
import _thread, threading
from entangle._see import live
def later():
    while not any(display._height for display in live._active):
        time.sleep(0.01)
    _thread.interrupt_main()
threading.Thread(target=later).start()
try:
    process(rest)(30).run(progress=True)
except KeyboardInterrupt:
    print("interrupted")
print(type(sys.stdout).__name__)
"""
    )
    seen = Terminal().run(program(tmp_path, text))
    assert drawn(seen.frames)
    assert seen.lines()[0].startswith("■ cancelled after")
    assert seen.lines()[1:] == ["interrupted", "TextIOWrapper"]


@pytest.mark.process
@pytest.mark.parametrize(
    ("env", "picture"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": None}, False),
        ({"CI": "true"}, False),
        ({"PYTHONIOENCODING": "ascii"}, False),
    ],
)
def test_what_the_environment_says_of_the_terminal(tmp_path, env, picture):
    seen = Terminal().run(program(tmp_path, GRAPH), env=env)
    assert seen.code == 0
    assert bool(drawn(seen.frames)) == picture
    done = "+" if "PYTHONIOENCODING" in env else "✓"
    assert any(line.startswith(f"{done} 3 nodes in") for line in seen.lines())
    colours = re.search(rb"\x1b\[[\d;]*3[0-7]m", seen.raw)
    assert bool(colours) == (picture and "NO_COLOR" not in env)
    if not picture:
        assert b"\x1b" not in seen.raw


@pytest.mark.process
def test_without_rich_there_are_lines(tmp_path):
    text = "import sys\nsys.modules['rich'] = None\n" + GRAPH
    seen = Terminal().run(program(tmp_path, text))
    assert b"\x1b" not in seen.raw
    assert [line.split("  ")[0] for line in seen.lines()][:2] == ["✓ rest", "✓ rest"]


@pytest.mark.process
def test_somebody_else_draws_on_the_terminal(tmp_path):
    text = GRAPH.replace(
        "with progress():",
        "import rich, rich.live\nwith rich.live.Live('theirs'), progress():",
    )
    seen = Terminal().run(program(tmp_path, text))
    assert seen.code == 0
    assert not drawn(seen.frames)


def run_program(tmp_path, text, **options):
    return subprocess.run(
        [sys.executable, program(tmp_path, text)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


@pytest.mark.process
def test_nothing_is_shown_where_nobody_looks(tmp_path):
    done = run_program(tmp_path, GRAPH)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


@pytest.mark.process
@pytest.mark.parametrize("mode", ["plain", "json", "live", "off"])
def test_modes_of_the_environment(tmp_path, mode):
    text = GRAPH.replace("with progress():", "if True:")
    done = run_program(tmp_path, text, env={**os.environ, "ENTANGLE_PROGRESS": mode})
    assert (done.returncode, done.stdout) == (0, "2\n")
    if mode == "off":
        assert done.stderr == ""
    elif mode == "json":
        assert len(done.stderr.splitlines()) > 5
        assert done.stderr.startswith('{"entangle":"log"')
    else:
        assert done.stderr.splitlines()[-1].startswith("✓ 3 nodes in")


@pytest.mark.process
def test_what_the_program_says_counts_more(tmp_path):
    text = GRAPH.replace("progress()", "progress(False)")
    done = run_program(tmp_path, text, env={**os.environ, "ENTANGLE_PROGRESS": "plain"})
    assert done.stderr == ""


def test_a_mode_that_does_not_exist(monkeypatch):
    with pytest.raises(OptionError, match="did you mean 'plain'"), shown("plian"):
        pass
    monkeypatch.setenv("ENTANGLE_PROGRESS", "loud")
    with pytest.raises(OptionError, match="auto, live, plain, json, off"):
        thread(int)()()


@pytest.mark.process
@pytest.mark.parametrize(
    "closing", ["sys.stderr = None", "sys.stderr.close()", "os.close(2)"]
)
def test_a_closed_stderr(tmp_path, closing):
    text = GRAPH.replace("with progress():", f"{closing}\nwith progress('plain'):")
    done = run_program(tmp_path, text)
    assert (done.returncode, done.stdout) == (0, "2\n")


@pytest.mark.process
def test_a_reader_that_has_gone(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [
                sys.executable,
                program(tmp_path, GRAPH.replace("progress()", "progress('plain')")),
            ],
            stdout=subprocess.PIPE,
            stderr=writer,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.stdout == "2\n"


def test_a_notebook(monkeypatch):
    """The picture is text below the cell, replaced as the run goes on."""
    texts = []
    drawn = threading.Event()

    def take(shown):
        texts.append(shown["text/plain"])
        if "●" in texts[-1]:
            drawn.set()

    class Handle:
        def update(self, shown, *, raw):
            assert raw
            take(shown)

    def display(shown, *, raw, display_id):
        assert raw
        assert display_id
        take(shown)
        return Handle()

    def sleep():
        assert drawn.wait(60)

    fake = types.ModuleType("IPython.display")
    fake.display = display
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with shown():
        assert thread(sleep)()() is None
    (first, *_) = [text for text in texts if "●" in text]
    assert first.startswith("sleep  0/1 · 1 running")
    assert "● sleep" in first
    assert texts[-1].startswith("✓ 1 node in")
    assert sys.stderr.getvalue() == ""


# -- the picture ----------------------------------------------------------------------


def state(nodes, events=(), over=None):
    run = RunState(RunStarted("r", 100.0, len(nodes), "top"))
    for number, (name, inputs) in enumerate(nodes, 1):
        run.take([NodeAdded("r", 100.0, number, name, inputs, "f.py:1", "process")])
    run.take(events)
    if over:
        run.take([over])
    return run


def ended(node, name, outcome="succeeded", seconds=0.5, error="", value="1"):
    return NodeEnded(
        *("r", 101.0, node, name, 1, outcome, error),
        started=101.0 - seconds,
        place="process",
        pid=7,
        value=value,
    )


def started(node, name):
    return NodeStarted("r", 100.5, node, name, 1, "process", 7)


def test_the_tree_of_a_small_run():
    run = state(
        [("one", ()), ("two", ()), ("mult", (1, 2)), ("three", ()), ("add", (3, 4))],
        [ended(1, "one"), ended(2, "two"), started(3, "mult"), started(4, "three")],
    )
    assert plain(head(run, 102.0)) == "top  2/5 · 2 running · 2.0 s"
    assert [plain(line) for line in tree(run, 20, 102.0)] == [
        "└─ ○ add",
        "   ├─ ● mult  1.5 s  process 7",
        "   │  ├─ ✓ one  0.50 s  → 1",
        "   │  └─ ✓ two  0.50 s  → 1",
        "   └─ ● three  1.5 s  process 7",
    ]


def test_what_matters_is_shown_first():
    nodes = [(f"n{n}", ()) for n in range(1, 101)]
    events = [ended(n, f"n{n}", seconds=n / 1000) for n in range(1, 90)]
    events += [started(90, "n90"), ended(91, "n91", "failed", error="ValueError: x")]
    lines = [plain(line) for line in tree(state(nodes, events), 5, 102.0)]
    assert lines[0].startswith("├─ ✗ n91  0.50 s  ValueError: x")
    assert lines[1].startswith("├─ ● n90")
    assert lines[2].startswith("├─ ✓ n89")
    assert lines[-1] == "└─ … 87 done · 9 waiting"
    assert len(lines) == 5


def test_a_hundred_thousand_nodes():
    """Each look costs what is shown, not what there is."""
    count = 100_000
    run = RunState(RunStarted("r", 100.0, count, "top"))
    run.take(
        NodeAdded("r", 100.0, n, "n", (), "f.py:1", "process") for n in range(1, count)
    )
    run.take(started(n, "n") for n in range(1, 50_000))
    run.take(ended(n, "n") for n in range(1, 49_900))
    assert len(tree(run, 20, 102.0)) == 20
    assert plain(head(run, 102.0)).startswith("top  49,899/99,999 · 100 running")
    began = time.process_time()
    for _ in range(50):
        tree(run, 20, 102.0)
    assert time.process_time() - began < 30


def test_the_summary_names_what_was_waited_for():
    nodes = [("a", ()), ("b", ()), ("c", (1, 2))]
    events = [ended(1, "a"), ended(2, "b"), ended(3, "c")]
    over = RunEnded("r", 101.0, "succeeded", "", 0)
    assert plain(summary(state(nodes, events, over))) == (
        "✓ 3 nodes in 1.0 s · critical path b → c · 1.5× parallel"
    )
    failed = state(
        nodes, [ended(1, "a", "failed")], RunEnded("r", 101.0, "failed", "x", 0)
    )
    assert plain(summary(failed)) == (
        "✗ failed after 1.0 s · 0 of 3 nodes done · a failed"
    )


def test_hostile_names_and_values_are_only_seen():
    name = "n\x1b[2J\x07<b>\"'\u202e\n🎉" + "x" * 1000
    run = state([(name, ())], [ended(1, name, value=name, error="")])
    run.take([NodeOutput("r", 101.0, 1, name, "stdout", name * 1000)])
    for line in [*tree(run, 5, 102.0), summary(run), head(run, 102.0)]:
        text = plain(line)
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", text)
        assert len(text) < 200


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0.0123, "12 ms"),
        (0.34, "0.34 s"),
        (3.25, "3.2 s"),
        (42, "42 s"),
        (61, "1:01 min"),
        (7325, "2:02:05"),
    ],
)
def test_times_as_people_read_them(seconds, text):
    assert duration(seconds) == text


def test_one_picture_at_a_time(monkeypatch):
    class Tty(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Tty())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    first = live.live(forced=False)
    assert type(first) is live.LiveDisplay
    first.show([state([("a", ())])], 102.0)
    try:
        assert type(live.live(forced=False)) is progress.PlainDisplay
    finally:
        first.close()
    assert type(live.live(forced=False)) is live.LiveDisplay


def test_a_display_that_fails_disturbs_nobody():
    class Broken(progress.Display):
        def news(self, run, events, *, shown):
            raise OSError

        def close(self):
            raise ValueError

    from entangle._run.observing import observed

    with observed([progress.Progress(Broken(), patience=0.0)]):
        assert thread(process)(len) is not None
        assert thread(len)([1])() == 1
