"""Every Python block in the documentation runs, and prints what the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *ROOT.glob("*/README.md"), *(ROOT / "docs").glob("*.md")]
BLOCK = re.compile(r"^```(python|output)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#([^)]+))?\)")
MARK = "-- end of block {} --"


def pages(pattern):
    found = [path for path in sorted(PAGES) if pattern.search(path.read_text())]
    return pytest.mark.parametrize(
        "page", found, ids=[str(path.relative_to(ROOT)) for path in found]
    )


@pytest.mark.process
@pages(BLOCK)
def test_blocks_print_what_they_promise(page, tmp_path):
    """The blocks of a page are one program; each `output` is what the last printed."""
    program, promised = [], {}
    for kind, text in BLOCK.findall(page.read_text()):
        if kind == "python":
            program += [text, f"print({MARK.format(len(program))!r})\n"]
        else:
            promised[MARK.format(len(program) - 2)] = text
    script = tmp_path / "page.py"
    script.write_text("".join(program))
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    printed = dict(
        reversed(part)
        for part in re.findall(
            r"(.*?)(-- end of block \d+ --)\n", done.stdout, re.DOTALL
        )
    )
    assert {mark: printed[mark] for mark in promised} == promised


@pages(LINK)
def test_links_lead_somewhere(page):
    """Every link to a file of this project finds it, and its heading."""
    for target, heading in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        path = page.parent / target
        assert path.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            slugs = [
                re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles
            ]
            assert heading in slugs, heading
