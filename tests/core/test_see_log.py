"""Logs of runs: written whatever happens, read whatever is left of them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._run.telling import ALL
from entangle._see import folder as folders
from entangle._see.format import (
    FORMAT,
    Lines,
    NewerLogError,
    Scribe,
    header,
    line,
    line_of,
)
from entangle._see.log import RunLog
from entangle._see.reading import Recorded, ending
from entangle.process import process
from entangle.run import (
    NodeAdded,
    NodeEnded,
    NodeOutput,
    NodeRetried,
    NodeSpan,
    NodeStarted,
    RunEnded,
    RunStarted,
    log,
    observe,
)
from entangle.task import gather
from entangle.thread import thread

RUN = "20260101-000000-0123abcd"
BEGUN = RunStarted(RUN, 1000.0, 3, "main")


def read(folder, run=None):
    """Return the events of a run's log."""
    with Recorded(str(folder), run or folders.runs(str(folder))[-1]) as recorded:
        events = list(recorded.events())
    return events, recorded


def write(folder, text, run=RUN):
    """Put a log where one would be."""
    path = folder / run / folders.LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def add(a, b):
    return a + b


def say(text):
    print(text)
    return text


def test_a_log_says_what_observers_are_told(tmp_path, capfd):
    """But for the starts of quick calls, which their ends tell."""
    seen = []
    with log(tmp_path), observe(seen.append):
        assert process(add)(process(say)("a"), thread(say)("b"))() == "ab"
    events, recorded = read(tmp_path)
    assert recorded.damaged == 0
    assert not recorded.cut
    assert recorded.header["argv"] == sys.argv

    def near(event):
        return event._replace(
            **{
                name: pytest.approx(getattr(event, name), abs=2e-6)
                for name in ("time", "queued", "started")
                if name in event._fields
            }
        )

    kept = [event for event in seen if type(event) is not NodeStarted]
    assert [event for event in events if type(event) is not NodeStarted] == [
        near(event) for event in kept
    ]


def test_a_wide_graph_takes_few_lines(tmp_path):
    with log(tmp_path):
        task = process(abs)
        total = gather(*[task(n) for n in range(5000)])
        assert sum(total()) == sum(range(5000))
    (run,) = folders.runs(str(tmp_path))
    lines = (tmp_path / run / folders.LOG).read_bytes().splitlines()
    assert len(lines) < 2000
    events, _ = read(tmp_path)
    assert [e.node for e in events if type(e) is NodeAdded] == list(range(1, 5002))
    ended = {e.node: e for e in events if type(e) is NodeEnded}
    assert ended.keys() == set(range(1, 5001))
    for event in ended.values():
        assert event.name == "abs"
        assert event.place == "process"
        assert event.value == str(event.node - 1)
        assert event.queued <= event.started <= event.time


def test_calls_whose_start_is_known_share_lines_with_others():
    """A line that readers refuse would lose all of its calls."""
    scribe = Scribe("r", 100.0, ALL, {})
    scribe.whole(RunStarted("r", 100.0, 2, "top"))
    unknown = (1, "abs", 1, None, 0.0, 0.0, 1000, 7, False, 5, 0)
    known = (2, "abs", 1, None, 0.5, 0.7, 1000, 8, True, 5, 0)
    scribe.succeeded((1.0, [unknown, known]))
    events = list(Lines("r", 100.0).events(scribe.events[-1].encode()))
    assert [event.node for event in events] == [1, 2]
    assert events[1].started == 100.7
    assert events[1].queued == 100.5


def test_a_library_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert thread(add)(1, 2)() == 3
    assert thread(add)(1, 2).run(log=False) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_run_may_ask_for_a_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert thread(add)(1, 2).run(log=True) == 3
    events, _ = read(tmp_path / ".entangle" / "runs")
    assert type(events[-1]) is RunEnded
    assert (tmp_path / ".entangle" / ".gitignore").read_text().endswith("*\n")
    assert thread(add)(1, 2).run(log=tmp_path / "other") == 3
    assert len(folders.runs(str(tmp_path / "other"))) == 1


def test_values_are_for_the_owner_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    thread(add)(1, 2).run(log=True)
    runs = tmp_path / ".entangle" / "runs"
    (run,) = folders.runs(str(runs))
    assert runs.stat().st_mode & 0o777 == 0o700
    assert (runs / run / folders.LOG).stat().st_mode & 0o777 == 0o600


def test_old_runs_are_removed(tmp_path):
    for number in range(folders.KEPT + 20):
        write(tmp_path, header(BEGUN), f"20260101-000000-{number:08x}")
    (tmp_path / "notes").mkdir()
    (tmp_path / "20260101-000000-00000003" / "mine.txt").write_text("keep")
    with log(tmp_path):
        thread(add)(1, 2)()
    left = folders.runs(str(tmp_path))
    # What has more in it than we have put there stays.
    assert len(left) == folders.KEPT + 1
    assert left[0].endswith("00000003")
    assert (tmp_path / "notes").exists()


def test_a_run_under_way_is_not_removed(tmp_path):
    keeper = RunLog(str(tmp_path))
    keeper.take(RUN, [BEGUN])
    assert folders.under_way(str(tmp_path), RUN)
    for number in range(folders.KEPT + 5):
        write(tmp_path, header(BEGUN), f"20260102-000000-{number:08x}")
    folders.prune(str(tmp_path))
    assert RUN in folders.runs(str(tmp_path))
    keeper.over(RUN)
    assert not folders.under_way(str(tmp_path), RUN)
    folders.prune(str(tmp_path))
    assert RUN not in folders.runs(str(tmp_path))


# -- troubles of the folder -----------------------------------------------------------


@pytest.mark.parametrize("where", ["file/runs", "/proc/entangle/runs", "file"])
def test_a_folder_that_cannot_be_written_to(tmp_path, where, caplog):
    """The run goes on, and one warning says why there is no log."""
    (tmp_path / "file").write_text("")
    with log(tmp_path / where):
        for _ in range(2):
            assert thread(add)(1, 2)() == 3
    assert caplog.text.count("no log of it is kept") == 1


def test_a_read_only_folder(tmp_path, monkeypatch, caplog):
    """Root may write anywhere: the file system says no instead."""
    mkdir = os.mkdir

    def refuse(path, *args, **kwargs):
        if str(path).startswith(str(tmp_path)):
            raise OSError(30, "Read-only file system", path)
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(os, "mkdir", refuse)
    assert thread(add)(1, 2).run(log=tmp_path) == 3
    assert caplog.text.count("Read-only file system") == 1


FULL = """
import resource, sys
from entangle.process import process
from entangle.run import log
from entangle.task import gather
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
with log(sys.argv[1]):
    for _ in range(2):
        print(sum(gather(*[process(abs)(n) for n in range(3000)])()))
"""


@pytest.mark.process
def test_a_disk_that_is_full(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "4498500\n4498500\n")
    assert done.stderr.count("no log of it is kept") == 1
    events, recorded = read(tmp_path)
    assert type(events[0]) is RunStarted
    assert recorded.cut


KILLED = """
import os, sys, time
from entangle.process import process
from entangle.run import log
def say(n):
    print(n, flush=True)
    time.sleep(0.01)
    return n
with log(sys.argv[1]):
    for n in range(10_000):
        process(say)(n)()
"""


@pytest.mark.process
def test_a_program_that_is_killed_leaves_a_log(tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE
    )
    for _ in range(20):
        program.stdout.readline()
    program.send_signal(signal.SIGKILL)
    program.wait()
    program.stdout.close()
    runs = folders.runs(str(tmp_path))
    assert len(runs) >= 18
    unfinished = 0
    for run in runs:
        assert not folders.under_way(str(tmp_path), run)
        try:
            events, recorded = read(tmp_path, run)
        except FileNotFoundError:
            unfinished += 1  # its folder was made, no more
            continue
        unfinished += not events or type(events[-1]) is not RunEnded
        assert recorded.damaged == 0 or type(events[-1]) is not RunEnded
    assert unfinished <= 1


# -- what is left of a log ------------------------------------------------------------

EVENTS = [
    NodeAdded(RUN, 1000.1, 1, "a", (), "f.py:1", "process"),
    NodeAdded(RUN, 1000.1, 2, "b", (1,), "f.py:2", "thread", 1),
    NodeStarted(RUN, 1000.2, 1, "a", 1, "process", 77),
    NodeOutput(RUN, 1000.3, 1, "a", "stderr", 'é\x1b[31m\n"quoted" <b> \ud800 🎉\n'),
    NodeEnded(
        RUN,
        1000.4,
        1,
        "a",
        1,
        "failed",
        "ValueError: x",
        queued=1000.1,
        place="process",
    ),
    NodeRetried(RUN, 1000.4, 1, "a", 2),
    NodeSpan(RUN, 1000.5, 1, "a", 2, "part", 1000.45, {"k": 1, "s": "t"}),
    NodeEnded(
        RUN,
        1000.6,
        1,
        "a",
        2,
        "succeeded",
        "",
        cached=True,
        queued=1000.2,
        started=1000.25,
        place="process",
        pid=77,
        value="1",
        size=5,
    ),
    RunEnded(RUN, 1000.7, "failed", "ValueError: x", 2),
]


def whole():
    """Return the lines of a log, with one of calls that have ended together."""
    together = {
        "event": "succeeded",
        "time": 650_000,
        "nodes": [1, 2],
        "took": [1000, 2000],
        "pids": [5, 5],
        "values": [1, "'x'"],
    }
    lines = [header(BEGUN), *[line_of(event, 1000.0) for event in EVENTS]]
    lines.insert(-1, line(together))
    return [text.encode() for text in lines]


def decoded(lines):
    reader = Lines(RUN, 1000.0)
    return [event for text in lines for event in reader.events(text)]


def test_all_events_come_back(tmp_path):
    write(tmp_path, b"".join(whole()))
    events, recorded = read(tmp_path)
    together = [event for event in events if event not in EVENTS]
    assert [event for event in events if event in EVENTS] == EVENTS
    assert together[0] == BEGUN
    first, second = together[1:]
    assert (first.node, first.value, second.value) == (1, "1", "'x'")
    assert second.time == pytest.approx(1000.65)
    assert first.time == second.started == pytest.approx(1000.649998)
    assert (recorded.damaged, recorded.cut) == (0, False)


WHOLE = whole()
TEXT = b"".join(WHOLE)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(TEXT)))
def test_what_is_before_a_cut_can_be_read(tmp_path_factory, at):
    """Wherever the log is cut: all whole lines are read, the rest is passed over."""
    folder = tmp_path_factory.mktemp("cut")
    write(folder, TEXT[:at])
    events, recorded = read(folder)
    lines = TEXT[:at].count(b"\n")
    assert events[1:] == decoded(WHOLE[1 : max(1, lines)])
    assert recorded.damaged == 0
    assert recorded.cut == (not TEXT[:at].endswith(b"\n") and at > 0)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=40))
def test_a_damaged_line_hides_no_other(tmp_path_factory, at, noise):
    noise = noise.replace(b"\n", b"?")
    lines = [*WHOLE]
    lines[at] = noise + b"\n"
    folder = tmp_path_factory.mktemp("noise")
    write(folder, b"".join(lines))
    events, recorded = read(folder)
    if at:
        # What is said of a node elsewhere may be less without the line.
        others = len(decoded([*WHOLE[1:at], *WHOLE[at + 1 :]]))
        assert others <= len(events) - 1 <= others + 1
    assert recorded.damaged <= 1


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "event",
                "time",
                "node",
                "count",
                "nodes",
                "took",
                "pids",
                "values",
                "inputs",
                "name",
                "outcome",
                "attempt",
                "attributes",
                "queued",
            ]
        ),
        st.none()
        | st.integers()
        | st.floats()
        | st.text()
        | st.lists(st.integers() | st.text())
        | st.sampled_from(["added", "ended", "succeeded", "over", "started", "output"]),
    )
)
def test_lines_that_say_anything_at_all(fields):
    """What nobody has written is damaged, or an event; nothing is raised."""
    if type(fields.get("count")) is int:
        fields["count"] %= 1000
    for event in Lines(RUN, 1000.0).events(line(fields).encode()):
        assert type(event) in ALL


def test_a_line_of_a_later_version_is_passed_over():
    reader = Lines(RUN, 1000.0)
    assert list(reader.events(b'{"event":"levitated","time":1,"node":1}\n')) == []
    known = b'{"event":"retried","time":1,"node":1,"attempt":2,"mood":"good"}\n'
    assert [type(event) for event in reader.events(known)] == [NodeRetried]
    assert reader.damaged == 0


def test_a_newer_format_is_refused_with_what_to_do(tmp_path):
    newer = json.loads(header(BEGUN)) | {"format": FORMAT + 1}
    write(tmp_path, line(newer))
    with pytest.raises(NewerLogError, match=r"format 2.*reads up to 1.*upgrade"):
        Recorded(str(tmp_path), RUN)


def test_the_end_is_found_without_reading_all(tmp_path):
    write(tmp_path, TEXT + b'{"event":"ou')
    assert ending(str(tmp_path), RUN, BEGUN) == EVENTS[-1]
    write(tmp_path, b"".join(WHOLE[:-1]))
    assert ending(str(tmp_path), RUN, BEGUN) is None
    write(tmp_path, b"")
    assert ending(str(tmp_path), RUN, BEGUN) is None


def test_large_outputs_and_hostile_names(tmp_path, capfd):
    def huge():
        print("x" * 10_000_000)

    huge.__qualname__ = 'h\x1b]0;title\x07<img src=x>"🎉\u202e'
    with log(tmp_path):
        process(huge)()()
    events, recorded = read(tmp_path)
    (printed,) = [event for event in events if type(event) is NodeOutput]
    assert printed.text == "x" * 10_000_000 + "\n"
    assert recorded.damaged == 0
    assert events[1].name == huge.__qualname__
    capfd.readouterr()


def test_runs_of_one_second_are_listed_in_order(tmp_path):
    for _ in range(5):
        with log(tmp_path):
            thread(add)(1, 2)()
        time.sleep(0.002)  # the clock of the file system
    begun = [read(tmp_path, run)[0][0].time for run in folders.runs(str(tmp_path))]
    assert begun == sorted(begun)


def test_nothing_is_left_open(tmp_path):
    before = set(os.listdir("/proc/self/fd"))
    with log(tmp_path):
        thread(add)(1, 2)()
    assert set(os.listdir("/proc/self/fd")) == before
