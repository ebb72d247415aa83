"""Workers are interpreters like the caller's own."""

import json
import os
import subprocess
import sys

import pytest

from entangle.backend import ProcessExecutor
from entangle.errors import WorkerStartError
from entangle.process import process
from entangle.task import shutdown

SHOW = """
import json, sys
flags = {name: getattr(sys.flags, name) for name in dir(sys.flags)
         if not name.startswith(("_", "n_", "count", "index"))}
flags.pop("quiet")
flags.pop("hash_randomization")
print(json.dumps([flags, sys.warnoptions, sorted(map(str, sys._xoptions.items()))]))
"""
ASK = """
import sys; sys.path[:0] = {path!r}
from entangle._pool.zygotes import interpreter_flags
import subprocess
subprocess.run([sys.executable, *interpreter_flags(), '-c', {show!r}], check=True)
"""


def output(*arguments):
    environment = {
        name: value for name, value in os.environ.items() if "COVERAGE" not in name
    }
    environment.pop("PYTHONWARNINGS", None)
    return subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["-B"],
        ["-O"],
        ["-OO"],
        ["-b"],
        ["-E"],
        ["-s"],
        ["-I"],
        ["-X", "dev"],
        ["-X", "utf8"],
        ["-X", "utf8=0"],
        ["-W", "ignore", "-W", "error::DeprecationWarning"],
        ["-X", "faulthandler", "-X", "tracemalloc=3", "-B", "-O"],
    ],
    ids=" ".join,
)
def test_flags_are_passed_on(flags):
    path = [entry for entry in sys.path if entry]
    wanted = json.loads(output(*flags, "-c", SHOW))
    got = json.loads(output(*flags, "-c", ASK.format(path=path, show=SHOW)))
    assert got == wanted


@pytest.mark.parametrize(
    ("path", "message"), [("", r"sys\.executable"), ("/no/such/python", "refused")]
)
def test_an_interpreter_that_cannot_be_started(monkeypatch, path, message):
    shutdown()
    monkeypatch.setattr(sys, "executable", path)
    call = process(int)("3")
    with pytest.raises(WorkerStartError, match=message):
        call()
    with pytest.raises(WorkerStartError, match=message):
        ProcessExecutor().submit(int).result()
    monkeypatch.undo()
    assert call() == 3


def test_an_interpreter_that_ends_at_once(monkeypatch, tmp_path):
    shutdown()
    wrong = tmp_path / "python"
    wrong.write_text("#!/bin/sh\nexit 3\n")
    wrong.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrong))
    with pytest.raises(WorkerStartError, match="exit code 3"):
        process(int)("3")()
