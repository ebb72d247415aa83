"""The commands that look back: runs, show, logs."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

from entangle._cli.main import main
from entangle._see import folder as folders
from entangle._see.format import FORMAT, header, line, line_of
from entangle.process import process
from entangle.run import (
    NodeAdded,
    NodeEnded,
    NodeOutput,
    NodeStarted,
    RunEnded,
    RunStarted,
    log,
)

RUN = "20260101-120000-0123abcd"
NAME = 'e\x1b[2Jvil\x07<b>"🎉'


@pytest.fixture
def history(tmp_path, monkeypatch):
    """A folder with three runs: one that went well, one that failed, one that died."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".entangle" / "runs"

    def keep(run, *events, name="total", time=1000.0):
        path = folder / run / folders.LOG
        path.parent.mkdir(parents=True)
        begun = RunStarted(run, time, len(events), name)
        lines = [header(begun, argv=["pipeline.py"])]
        lines += [line_of(event._replace(run=run), 1000.0) for event in events]
        path.write_text("".join(lines))

    def added(node, name, inputs=()):
        return NodeAdded(RUN, 1000.0, node, name, inputs, "f.py:7", "process")

    def ended(node, name, outcome="succeeded", error="", value="1"):
        return NodeEnded(
            *(RUN, 1001.0, node, name, 1, outcome, error),
            started=1000.5,
            place="process",
            pid=7,
            value=value,
        )

    keep(
        "20260101-120000-0123abcd",
        added(1, "part"),
        added(2, "total", (1,)),
        NodeOutput(RUN, 1000.6, 1, "part", "stdout", "reading\nall\n"),
        ended(1, "part"),
        NodeOutput(RUN, 1000.9, 2, "total", "stderr", NAME + "\n"),
        ended(2, "total"),
        RunEnded(RUN, 1001.0, "succeeded", "", 0),
    )
    keep(
        "20260101-130000-0123abce",
        added(1, NAME),
        added(2, "total", (1,)),
        ended(1, NAME, "failed", f"ValueError: {NAME}", ""),
        NodeEnded(RUN, 1001.0, 2, "total", 0, "not run", ""),
        RunEnded(RUN, 1001.0, "failed", f"ValueError: {NAME}", 0),
        name=NAME,
    )
    keep(
        "20260101-140000-0123abcf",
        added(1, "part"),
        added(2, "total", (1,)),
        NodeStarted(RUN, 1000.5, 1, "part", 1, "process", 7),
    )
    return folder


def run(capsys, *arguments):
    """Return code, stdout and stderr of a command."""
    code = main(list(arguments))
    seen = capsys.readouterr()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", seen.out + seen.err)
    return code, seen.out, seen.err


def test_runs_are_listed_the_last_one_first(history, capsys):
    code, out, _ = run(capsys, "runs")
    assert code == 0
    rows = [row.split()[0:1] + row.split()[3:4] for row in out.splitlines()[1:]]
    assert rows == [
        ["20260101-140000-0123abcf", "died"],
        ["20260101-130000-0123abce", "failed"],
        ["20260101-120000-0123abcd", "succeeded"],
    ]
    assert "total" in out.splitlines()[1]
    _, out, _ = run(capsys, "runs", "-n", "1")
    assert out.splitlines()[-1] == "… and 2 older ones: `entangle runs -n 100`"


def test_runs_as_data(history, capsys):
    _, out, _ = run(capsys, "runs", "--json")
    rows = json.loads(out)
    assert [row["state"] for row in rows] == ["died", "failed", "succeeded"]
    assert rows[2]["seconds"] == 1.0
    assert rows[1]["name"] == NAME


def test_no_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "runs")
    assert (code, out) == (0, "")
    assert "`entangle run` keeps a log of each" in err
    assert run(capsys, "show")[0] == 2
    assert run(capsys, "runs", "--json")[1] == "[]\n"
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_shown(history, capsys):
    code, out, _ = run(capsys, "show", "20260101-12")
    assert code == 0
    assert out.splitlines()[1:] == [
        "  pipeline.py",
        "└─ ✓ total  0.50 s  → 1",
        "   └─ ✓ part  0.50 s  → 1",
        "✓ 2 nodes in 1.0 s · critical path part → total",
    ]


def test_a_failed_run_is_shown(history, capsys):
    _, out, _ = run(capsys, "show", "0123abce")
    assert "not run: total (1 node)" in out
    assert "ValueError" in out
    assert "f.py:7" in out


def test_a_run_that_died_is_shown(history, capsys):
    _, out, _ = run(capsys, "show", "last")
    assert "■ part" in out
    assert "● " not in out
    assert out.splitlines()[-1] == ("■ its program ended before it: 0 of 2 nodes done")


def test_a_run_as_data(history, capsys):
    _, out, _ = run(capsys, "show", "0123abce", "--json")
    data = json.loads(out)
    assert data["state"] == "failed"
    assert data["error"] == f"ValueError: {NAME}"
    assert [node["state"] for node in data["nodes"]] == ["failed", "not run"]
    assert data["nodes"][1]["inputs"] == [1]


def test_what_tasks_have_printed(history, capsys):
    code, out, _ = run(capsys, "logs", "0123abcd")
    assert code == 0
    assert out.splitlines()[:2] == ["part 1 │ reading", "part 1 │ all"]
    assert out.splitlines()[2].startswith("total 2 │ e")
    _, out, _ = run(capsys, "logs", "0123abcd", "part")
    assert out == "reading\nall\n"
    assert run(capsys, "logs", "0123abcd", "1")[1] == out


def test_what_was_printed_exactly(history, capsys):
    _, out, _ = run(capsys, "logs", "0123abcd", "total", "--json")
    (row,) = map(json.loads, out.splitlines())
    assert (row["text"], row["stream"]) == (NAME + "\n", "stderr")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("show", "lats"), "did you mean 'last'"),
        (("show", "20260101"), "3 runs begin or end with '20260101'"),
        (
            ("show", "20260101-120000-0123abcc"),
            "did you mean '20260101-120000-0123abcd'",
        ),
        (("show", ""), "no run ''"),
        (("logs", "0123abcd", "prat"), "did you mean 'part'"),
        (("logs", "0123abcd", "9"), "no node 9: run 20260101-120000-0123abcd has 2"),
        (("logs", "\x1b[2J"), "no run"),
    ],
)
def test_what_is_not_there(history, capsys, arguments, text):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert text in err


def test_a_newer_log(history, capsys):
    path = history / "20260101-150000-00000001" / folders.LOG
    path.parent.mkdir()
    fields = json.loads(header(RunStarted(RUN, 1.0, 1, "n"))) | {"format": FORMAT + 1}
    path.write_text(line(fields))
    assert "newer" in run(capsys, "runs")[1]
    code, _, err = run(capsys, "show")
    assert code == 3
    assert "upgrade entangle-core" in err


def test_a_damaged_log(history, capsys):
    path = history / RUN / folders.LOG
    text = path.read_bytes()
    path.write_bytes(b"\x00\xff\n" + text.partition(b"\n")[2] + b'{"event":"en')
    code, out, err = run(capsys, "show", RUN)
    assert code == 0
    assert "✓ total" in out
    assert "1 lines of the log can't be read" in err
    path.write_bytes(b"")
    assert run(capsys, "show", RUN)[0] == 0
    path.unlink()
    code, _, err = run(capsys, "show", RUN)
    assert code == 3
    assert "No such file" in err
    assert "unreadable" in run(capsys, "runs")[1]


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 10**400, 1e300])
def test_a_log_of_no_date(history, capsys, time):
    """A begin that is none is damage as any other."""
    path = history / RUN / folders.LOG
    head, _, rest = path.read_text().partition("\n")
    path.write_text(line(json.loads(head) | {"time": time}) + rest)
    code, out, err = run(capsys, "show", RUN)
    assert code == 0
    assert "✓ total" in out
    assert "1 lines of the log can't be read" in err
    assert run(capsys, "runs")[0] == 0


def test_a_run_of_unknown_size(history, capsys):
    """`as_completed` begins a run without knowing how many nodes will come."""
    path = history / RUN / folders.LOG
    head, _, rest = path.read_text().partition("\n")
    path.write_text(line(json.loads(head) | {"nodes": 0}) + rest)
    (row,) = [row for row in run(capsys, "runs")[1].splitlines() if RUN in row]
    assert not re.search(r"  0  ", row)


def test_a_folder_that_is_none(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, _, err = run(capsys, "runs", "--folder", str(tmp_path / "file"))
    assert code == 3
    assert "Not a directory" in err


@pytest.mark.parametrize("command", ["runs", "show", "logs"])
def test_help_begins_with_examples(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert out.index("examples:") < out.index("options:")


PIPELINE = """
from entangle.process import process

@process
def part(n):
    print("part", n)
    return n

@process
def fail():
    raise ValueError("no")

result = part(1)
failing = part(fail())
"""


@pytest.mark.process
def test_runs_are_kept_by_entangle_run(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.py").write_text(PIPELINE)

    def entangle(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "entangle", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = entangle("run", "pipeline.py", "--trace", "t.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "part 1\n1\n", "")
    assert json.loads((tmp_path / "t.json").read_text())
    assert entangle("logs", "last", "part").stdout == "part 1\n"
    failed = entangle("run", "pipeline.py:failing")
    assert failed.returncode == 1
    assert "not run: part" in entangle("show").stdout
    assert len(folders.runs(".entangle/runs")) == 2
    assert entangle("run", "pipeline.py", "--no-log").returncode == 0
    assert len(folders.runs(".entangle/runs")) == 2
    refused = entangle("run", "pipeline.py", "--trace", "no/t.json")
    assert refused.returncode == 3
    assert "no trace can be written to no/t.json: No such file" in refused.stderr
    plain = entangle("run", "pipeline.py", "--progress")
    assert plain.stdout == "part 1\n1\n"


@pytest.mark.process
def test_a_log_that_cannot_be_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / ".entangle").write_text("a file")
    done = subprocess.run(
        [sys.executable, "-m", "entangle", "run", "pipeline.py"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "part 1\n1\n")
    assert len(done.stderr.splitlines()) == 1
    assert "no log of it is kept" in done.stderr


@pytest.mark.process
def test_a_run_is_followed(tmp_path, capfd):
    """What is printed while it is looked at is printed, till the run is over."""
    go = str(tmp_path / "go")

    def work():
        print("first")
        while not os.path.exists(go):
            time.sleep(0.001)
        print("second")

    folder = str(tmp_path / "runs")
    with log(folder):
        future = process(work)().submit()
        (run_name,) = wait_for_run(folder)
        with subprocess.Popen(
            [sys.executable, "-m", "entangle", "logs", "-f", "--folder", folder],
            stdout=subprocess.PIPE,
            text=True,
        ) as follower:
            assert follower.stdout.readline().endswith("work 1 │ first\n")
            assert folders.under_way(folder, run_name)
            open(go, "w").close()
            future.result(60)
            assert follower.stdout.read().endswith("work 1 │ second\n")
    assert follower.returncode == 0
    assert capfd.readouterr().out == "first\nsecond\n"


def wait_for_run(folder):
    deadline = time.monotonic() + 20
    while not folders.runs(folder):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return folders.runs(folder)


@pytest.mark.process
def test_a_reader_that_leaves_early(history):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "entangle", "logs", RUN],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
