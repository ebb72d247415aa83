"""mypy and pyright, both strict, see the types and the mistakes that they should."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import entangle.http
import entangle.process

HERE = Path(__file__).parent
SOURCES = [
    Path(entangle.process.__file__).parents[1],
    Path(entangle.http.__file__).parents[2],
]
ACCEPTED = ("accepted.py", "accepted_sources.py")
REFUSED = ("refused.py", "refused_sources.py")
FILES = ACCEPTED + REFUSED

pytestmark = [pytest.mark.static, pytest.mark.timeout(300)]


def mypy(tmp_path):
    """Run mypy over this folder; messages by file name and line."""
    pytest.importorskip("mypy")
    # A folder of installed packages is found anyway, and refused as a source tree.
    trees = [
        str(path)
        for path in SOURCES
        if path.name not in ("site-packages", "dist-packages")
    ]
    environment = dict(os.environ, MYPYPATH=os.pathsep.join(trees))
    config = tmp_path / "mypy.ini"
    config.write_text(
        "[mypy]\nstrict = true\npretty = false\n"
        "namespace_packages = true\nexplicit_package_bases = true\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--output", "json"),
            *("--config-file", str(config), "--cache-dir", str(tmp_path / "cache")),
            *(str(HERE / name) for name in FILES),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    for line in done.stdout.splitlines():
        found = json.loads(line)
        yield (
            Path(found["file"]).name,
            found["line"],
            found["severity"] == "error",
            found["message"],
        )


def pyright(tmp_path):
    """Run pyright over this folder; messages by file name and line."""
    pytest.importorskip("pyright")
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps(
            {
                "include": [os.path.relpath(HERE / name, tmp_path) for name in FILES],
                "extraPaths": [str(path) for path in SOURCES],
                "typeCheckingMode": "strict",
                # These files are made of expressions that only their types matter of.
                "reportUnusedExpression": False,
                "reportUnusedCoroutine": False,
            }
        )
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pyright", "--outputjson"),
            *("--project", str(tmp_path), "--pythonpath", sys.executable),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        yield (
            Path(found["file"]).name,
            found["range"]["start"]["line"] + 1,
            found["severity"] == "error",
            found["message"],
        )


@pytest.fixture(scope="module", params=[mypy, pyright], ids=["mypy", "pyright"])
def messages(request, tmp_path_factory):
    """All that one checker says, as (file name, line, whether an error, text)."""
    return list(request.param(tmp_path_factory.mktemp("checker")))


def plain(revealed):
    """Give a revealed type without what the checkers show differently."""
    text = re.sub(r"\b(?:\w+\.)+(?=\w)", "", revealed)
    if match := re.search(r'Revealed type is "(.*)"', text):
        return match.group(1)
    return re.sub(r'^Type of ".*" is "(.*)"$', r"\1", text, flags=re.DOTALL)


def expected(name, pattern):
    """Read the comments of a file; what they say by line."""
    lines = (HERE / name).read_text().splitlines()
    found = ((number, re.search(pattern, line)) for number, line in enumerate(lines, 1))
    return {number: match.group(1) for number, match in found if match}


@pytest.mark.parametrize("file", ACCEPTED)
def test_types_are_kept(messages, file):
    revealed = {
        line: plain(text)
        for name, line, error, text in messages
        if name == file and not error and text.startswith(("Revealed", "Type"))
    }
    assert revealed == expected(file, r"reveal_type\(.*\)  # (.+)$")


@pytest.mark.parametrize("file", ACCEPTED)
def test_good_programs_have_no_errors(messages, file):
    errors = [each for each in messages if each[0] == file and each[2]]
    assert errors == []


@pytest.mark.parametrize("file", REFUSED)
def test_mistakes_are_found_and_nothing_else(messages, file):
    found = {line for name, line, error, _ in messages if name == file and error}
    wanted = expected(file, r"# (refused)$").keys()
    texts = [each for each in messages if each[0] == file and each[2]]
    assert sorted(found) == sorted(wanted), texts
