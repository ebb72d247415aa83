"""Traces: what Perfetto takes for granted of a file holds for ours."""

import gzip
import json
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._see.trace import TraceFile
from entangle.process import process
from entangle.run import (
    NodeAdded,
    NodeEnded,
    NodeSpan,
    NodeStarted,
    RunEnded,
    RunStarted,
    span,
    trace,
)
from entangle.task import gather
from entangle.thread import thread


def load(path):
    """Load a trace as Perfetto does: the closing bracket may be missing."""
    text = path.read_text()
    assert text.startswith("[\n")
    lines = text[2:].split("\n")
    whole = [line for line in lines[:-1] if line not in {"]", ""}]
    if not text.endswith("\n]\n"):
        # What comes after the last line's end is cut off.
        assert not lines[-1].endswith(",\n")
    return [json.loads(line.removesuffix(",")) for line in whole]


def check(events):
    """Check what is needed for a trace to be shown as it was meant."""
    names, lanes = set(), defaultdict(list)
    starts, ends = {}, {}
    for event in events:
        assert type(event["pid"]) is int
        assert 1 <= event["pid"] < 2**32
        assert type(event["tid"]) is int
        assert 1 <= event["tid"] < 2**32
        phase = event["ph"]
        if phase == "M":
            assert "ts" not in event
            names.add((event["name"], event["pid"], event["tid"]))
            continue
        assert event["ts"] >= 0
        lane = event["pid"], event["tid"]
        if phase == "X":
            assert event["dur"] > 0
            begun = round(event["ts"] * 1000)
            lanes[lane].append((begun, begun + round(event["dur"] * 1000)))
        elif phase == "s":
            assert starts.setdefault(event["id"], (lane, round(event["ts"] * 1000)))
        elif phase == "f":
            assert event["bp"] == "e"
            ends[event["id"]] = lane, round(event["ts"] * 1000)
        elif phase == "C":
            assert all(value >= 0 for value in event["args"].values())
        else:
            assert phase == "i"
    for lane, slices in lanes.items():
        assert ("thread_name", *lane) in names
        # Slices of a lane nest: they are apart, or one is in the other.
        open_until = []
        for begun, ended in sorted(slices, key=lambda each: (each[0], -each[1])):
            while open_until and open_until[-1] <= begun:
                open_until.pop()
            assert not open_until or ended <= open_until[-1]
            open_until.append(ended)
    assert starts.keys() == ends.keys()
    for number, (lane, moment) in starts.items():
        assert any(begun <= moment < ended for begun, ended in lanes[lane])
        to, at = ends[number]
        assert any(begun == at for begun, _ in lanes[to])
    return events


def slices(events):
    return [event for event in events if event["ph"] == "X"]


def add(a, b):
    return a + b


def rest(seconds=0.01):
    time.sleep(seconds)
    return seconds


@pytest.mark.process
def test_a_trace_of_a_run(tmp_path):
    path = tmp_path / "t.json"
    with trace(path):
        total = process(add)(process(rest)(), thread(rest)(0.02))()
    assert total == 0.03
    events = check(load(path))
    assert json.loads(path.read_text()) == events
    runs = [s for s in slices(events) if not s["name"].startswith("waiting")]
    assert [s["name"] for s in runs] == ["rest", "rest", "add"]
    assert {s["args"]["outcome"] for s in runs} == {"succeeded"}
    assert runs[-1]["args"]["value"] == "0.03"
    assert runs[0]["args"]["where"].startswith(__file__)
    arrows = [event for event in events if event["ph"] == "s"]
    assert len(arrows) == 2
    assert any(event["ph"] == "C" for event in events)


@pytest.mark.process
def test_what_gathers_leads_arrows_through(tmp_path):
    path = tmp_path / "t.json"
    process(sum)(gather(*[process(abs)(n) for n in range(5)])).run(trace=path)
    assert len([e for e in check(load(path)) if e["ph"] == "s"]) == 5


@pytest.mark.process
def test_one_lane_for_each_worker_that_was_busy(tmp_path):
    path = tmp_path / "t.json"
    task = process(abs)
    with trace(path):
        gather(*[task(n) for n in range(1000)])()
        gather(*[thread(rest)() for _ in range(8)])()
    events = check(load(path))
    lanes = {}
    for event in events:
        if event["ph"] == "M" and event["name"] == "thread_name":
            lanes[event["pid"], event["tid"]] = event["args"]["name"]
    assert len(slices(events)) >= 1008
    processes = {name for name in lanes.values() if name.startswith("process")}
    assert 1 <= len(processes) <= 64
    assert sum(name.startswith("thread") for name in lanes.values()) <= 8


def test_several_runs_are_apart(tmp_path):
    path = tmp_path / "t.json"
    with trace(path):
        for _ in range(3):
            thread(add)(1, 2)()
    assert {event["pid"] for event in check(load(path))} == {1, 2, 3}


def test_failures_and_retries(tmp_path):
    def fail():
        raise ValueError("no " * 1000)

    path = tmp_path / "t.json"
    with pytest.raises(ValueError, match="no"):
        thread(retry=1)(fail)().run(trace=path)
    runs = [s for s in slices(check(load(path))) if "attempt" in s["args"]]
    assert [s["args"]["attempt"] for s in runs] == [1, 2]
    assert {s["args"]["outcome"] for s in runs} == {"failed"}
    assert all(len(s["args"]["error"]) <= 300 for s in runs)


def test_parts_are_slices_in_the_call(tmp_path):
    def work():
        began = time.time()
        time.sleep(0.002)
        span("all", began, color="red")
        span("inner", began + 0.001, began + 0.0015)
        both = threading.Barrier(2)

        def other():
            both.wait()
            span("beside", began + 0.0005, began + 0.0012)

        threads = [threading.Thread(target=other) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    path = tmp_path / "t.json"
    thread(work)().run(trace=path)
    names = [s["name"] for s in slices(check(load(path)))]
    assert {"all", "inner"} <= set(names)


def test_compressed_at_the_end(tmp_path):
    path = tmp_path / "t.json.gz"
    with trace(path):
        thread(add)(1, 2)()
        # Till then it is plain, which whoever looks at the content can open, too.
        assert path.read_bytes().startswith(b"[\n")
    with gzip.open(path) as file:
        assert check(json.load(file))
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written(tmp_path):
    with (
        pytest.raises(OSError, match="No such file"),
        trace(tmp_path / "no" / "t.json"),
    ):
        pass
    with pytest.raises(OSError, match="No such file"):
        thread(add)(1, 2).run(trace=tmp_path / "no" / "t.json")


def test_a_file_is_traced_to_once(tmp_path):
    path = tmp_path / "t.json"
    with trace(path):
        with pytest.raises(OSError, match="a file of its own"), trace(path):
            pass
        thread(add)(1, 2)()
    assert check(load(path))


PROGRAM = """
import sys, time
from entangle.process import process
from entangle.task import gather
def rest(n):
    time.sleep(0.002)
    return n
rest = process(rest)
print("begun", flush=True)
for _ in range(int(sys.argv[1])):
    gather(*[rest(n) for n in range(20)])()
"""


@pytest.mark.process
def test_the_environment_asks_for_a_trace(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTANGLE_TRACE", str(tmp_path / "t.json"))
    done = subprocess.run([sys.executable, "-c", PROGRAM, "2"], timeout=60, check=True)
    assert done.returncode == 0
    assert len(slices(check(json.loads((tmp_path / "t.json").read_text())))) >= 40


@pytest.mark.process
def test_the_environment_asks_in_vain(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTANGLE_TRACE", str(tmp_path / "no" / "t.json"))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "2"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.count("no trace is written") == 1


@pytest.mark.process
@pytest.mark.parametrize("after", [0.0, 0.05, 0.2, 0.5])
def test_what_a_killed_program_leaves_can_be_opened(tmp_path, monkeypatch, after):
    monkeypatch.setenv("ENTANGLE_TRACE", str(tmp_path / "t.json"))
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "1000"], stdout=subprocess.PIPE
    )
    program.stdout.readline()
    time.sleep(after)
    program.send_signal(signal.SIGKILL)
    program.wait()
    program.stdout.close()
    path = tmp_path / "t.json"
    if path.exists() and path.read_text():
        check(load(path))


# -- any run at all -------------------------------------------------------------------

SECONDS = st.floats(0, 1).map(lambda value: round(value, 6))


@st.composite
def happenings(draw):
    """What observers are told of a run, in any order in which it may be heard of."""
    count = draw(st.integers(1, 12))
    events = []
    for node in range(1, count + 1):
        inputs = draw(st.sets(st.integers(1, node - 1)) if node > 1 else st.just(set()))
        place = draw(st.sampled_from(["process", "thread", "docker(x)", ""]))
        events.append(
            NodeAdded("r", 0.0, node, f"n{node}", tuple(inputs), "f.py:1", place)
        )
    ends = []
    for added in events[:count]:
        if not added.place or draw(st.booleans()):
            continue
        for attempt in range(1, draw(st.integers(1, 3)) + 1):
            started, took, waited = draw(SECONDS), draw(SECONDS), draw(SECONDS)
            pid = draw(st.integers(0, 2))
            for _ in range(draw(st.integers(0, 3))):
                begun, ended = draw(SECONDS), draw(SECONDS)
                ends.append(
                    NodeSpan(
                        "r", ended, added.node, added.name, attempt, "s", begun, {}
                    )
                )
            if draw(st.booleans()):
                ends.append(
                    NodeStarted("r", started, added.node, added.name, attempt, "", pid)
                )
            ends.append(
                NodeEnded(
                    "r",
                    started + took,
                    added.node,
                    added.name,
                    attempt,
                    draw(st.sampled_from(["succeeded", "failed", "killed"])),
                    "",
                    queued=max(0.0, started - waited),
                    started=draw(st.sampled_from([started or 1e-9, 0.0])),
                    place=added.place,
                    pid=pid,
                )
            )
    return [*events, *ends]


@settings(max_examples=150, deadline=None)
@given(happenings(), st.integers(1, 5))
def test_any_run_makes_a_sound_trace(tmp_path_factory, events, pieces):
    """However times and places contradict each other: slices nest, arrows bind."""
    path = tmp_path_factory.mktemp("trace") / "t.json"
    made = TraceFile(path)
    made.hold()
    made.take("r", [RunStarted("r", 0.0, 1, "n", trace="ab" * 16)])
    for at in range(pieces):
        made.take("r", events[at::pieces] if at else events[::pieces])
    made.take("r", [RunEnded("r", 2.0, "succeeded", "", 0)])
    made.over("r")
    made.release()
    made.release()
    check(load(path))
    json.loads(path.read_text())


@given(st.integers(0, 3000))
def test_cut_anywhere_it_can_be_opened(tmp_path_factory, at):
    path = tmp_path_factory.mktemp("cut") / "t.json"
    made = TraceFile(path)
    made.take("r", [RunStarted("r", 0.0, 1, "n")])
    made.take(
        "r",
        [
            NodeAdded("r", 0.0, 1, 'h"\x1b<b>\u202e\ud800', (), "", "thread"),
            NodeStarted("r", 0.1, 1, "n", 1, "thread"),
            NodeEnded(
                "r", 0.2, 1, "n", 1, "succeeded", "", started=0.1, place="thread"
            ),
        ],
    )
    made.over("r")
    made.release()
    text = path.read_bytes()[: max(2, at)]
    path.write_bytes(text)
    check(load(path))
