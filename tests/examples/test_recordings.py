"""What the documentation shows of a terminal, or as a picture, is what comes out.

With RECORD=1 in the environment the files are written instead of compared.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from entangle.process import process
from entangle.task import gather
from entangle.thread import thread

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RECORDING = re.compile(
    r"(<!-- recorded: (.*?) -->\n```text\n)(.*?)(^```$)", re.MULTILINE | re.DOTALL
)
RECORD = os.environ.get("RECORD") == "1"
PAGES = [path for path in DOCS.glob("*.md") if RECORDING.search(path.read_text())]

pytestmark = pytest.mark.process


def ran(command, folder):
    """Run a command of the documentation as a user would, in a copy of the examples."""
    program, *arguments = command.split()
    assert program == "entangle"
    shutil.copytree(ROOT / "examples", folder / "examples", dirs_exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k != "CI"}
    done = subprocess.run(
        [sys.executable, "-m", "entangle", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout.replace(f"{folder.resolve()}{os.sep}", "")


def told(text):
    """Leave out what differs each time: times, processes, how far others have come."""
    text = re.sub(r"[0-9.]+ (µs|ms|s)\b", "0 s", text)
    text = re.sub(r"(?m)^  (not run|unfinished|others) .*", "  others", text)
    text = re.sub(r"\d{8}-\d{6}-\w+", "RUN", text)
    lines = re.sub(r"process \d+", "process 0", text).splitlines()
    # Which calls have printed something before another fails is not said.
    return [line for line in lines if not re.fullmatch(r"\d+ months", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_terminals(page, tmp_path):
    text = page.read_text()
    for head, command, shown, foot in RECORDING.findall(text):
        out = ran(command, tmp_path)
        if RECORD:
            text = text.replace(f"{head}{shown}{foot}", f"{head}{out}{foot}")
        else:
            assert told(shown) == told(out)
    if RECORD:
        page.write_text(text)


@thread
def load(day: int) -> list[int]:
    return [day]


@process
def clean(rows: list[int], *, limit: int) -> list[int]:
    return rows[:limit]


@process
def merge(one: list[int], other: list[int]) -> list[int]:
    return one + other


def large() -> str:
    parts = [clean(load(day), limit=10) for day in range(200)]
    total = parts[0]
    for part in parts[1:]:
        total = merge(total, part)
    return gather(total, *parts).to_svg()


def states() -> str:
    first, second, third = (load(day) for day in range(3))
    cleaned = clean(first, limit=10)
    failed = clean(second, limit=-1)
    waits = clean(third, limit=5)
    node = merge(merge(cleaned, failed), waits)
    states = {
        **dict.fromkeys([first, second, third, cleaned], "done"),
        failed: "failed",
        waits: "retry",
        node.args[0]: "skipped",
        node: "skipped",
    }
    return node.to_svg(states=states)


def sales() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "entangle", "graph", "examples/sales.py", "-f", "svg"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("made", [sales, large, states])
def test_pictures(made):
    path = DOCS / "pictures" / f"{made.__name__}.svg"
    if RECORD:
        path.write_text(made())
    # Lines of this file change with it.
    name = Path(__file__).name
    numbered = re.compile(rf"{name}:\d+")
    assert numbered.sub(name, path.read_text()) == numbered.sub(name, made())
    assert path.stat().st_size < 20_000
