"""What the page on seeing shows of a terminal was seen on one.

With RECORD=1 in the environment the page is written instead of compared.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from terminal_kit import Terminal

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "seeing.md"
RECORD = os.environ.get("RECORD") == "1"

pytestmark = pytest.mark.process


def block(name):
    """Return the pattern of a recording of the page."""
    return re.compile(
        rf"(<!-- seen: {re.escape(name)} -->\n```text\n)(.*?)(^```$)",
        re.MULTILINE | re.DOTALL,
    )


def told(text):
    """Leave out what differs each time: times, processes, names of runs."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "WHEN", text)
    text = re.sub(r"\d{8}-\d{6}-\w+", "RUN", text)
    text = re.sub(r"[\d.]+ (ms|s)\b", "0 s", text)
    text = re.sub(r" · [\d.]+× parallel", "", text)  # a loaded machine has none
    return re.sub(r"process \d+ *", "process 0 ", text).splitlines()


def compare(name, seen):
    """Compare a recording with what was seen now, or write it anew."""
    page = PAGE.read_text()
    pattern = block(name)
    recorded = pattern.search(page)
    assert recorded, name
    if RECORD:
        PAGE.write_text(pattern.sub(lambda m: m[1] + seen + m[3], page))
    else:
        assert told(recorded[2]) == told(seen)


def test_a_run_and_what_is_known_of_it_afterwards(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    folder = os.getcwd()
    os.chdir(tmp_path)
    try:
        seen = Terminal(columns=88).run("-m", "entangle", "run", "examples/weather.py")
    finally:
        os.chdir(folder)
    assert seen.code == 0
    # While the longest call runs, with a worker, nothing else changes.
    during = next(
        frame
        for frame in seen.frames
        if any(re.search(r"● model .*process \d", line) for line in frame)
        and sum("✓ read" in line for line in frame) == 3
        and frame[-1].startswith("   ")
    )
    compare("during the run", "\n".join(during) + "\n")
    compare("after the run", "\n".join(seen.lines()) + "\n")
    for command in ("show", "runs", "logs"):
        done = subprocess.run(
            [sys.executable, "-m", "entangle", command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        compare(f"entangle {command}", done.stdout.replace(f"{tmp_path}/", ""))
