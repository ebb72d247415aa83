"""`entangle new-plugin` writes distributions that are complete: installed, tested, used."""

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import pytest

from entangle._cli.main import main
from entangle._cli.new_plugin import KINDS

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
# What is run of the kit where it takes long: all of it judges the place for jobs that
# the plugin is made like, in tests/conformance.
SAMPLES = {
    "job": "not conformance or kinds or as_themselves or output or shutdown or poisoned"
    " or another_client or (killed and (running or after))"
}
NAMES = {"stream": "far-cellar", "job": "night-shift", "executor": "attic"}

pytestmark = pytest.mark.timeout(300)

GRAPH = """
import contextlib
import json
from entangle.process import process
from entangle.task import gather, task
from entangle_{module} import {module}

@{module}
def there(number):
    return number * 2

@process
def here(number):
    return number + 1

named = task(executor="{module}")(abs)
print(json.dumps([here(there(here(1)))(), gather(*[there(n) for n in range(5)])(), named(-3)()]))
"""


def run(*command, cwd="/", **variables):
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def new_plugin(*arguments):
    return main(["new-plugin", *map(str, arguments)])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder that one distribution of each kind was written to."""
    folder = tmp_path_factory.mktemp("written")
    for kind, name in NAMES.items():
        assert new_plugin(name, "--kind", kind, "--into", folder) == 0
    return folder


@pytest.fixture(scope="module")
def python(written, tmp_path_factory):
    """A Python with core and both, each from its wheel, and what tests need."""
    dist = tmp_path_factory.mktemp("dist")
    plugins = [written / f"entangle-{name}" for name in NAMES.values()]
    for project in (ROOT / "entangle-core", *plugins):
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation",
            "--outdir", dist, project)  # fmt: skip
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    made = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", made, "--quiet", "install",
        "--no-index", "--no-deps", *dist.glob("*.whl"))  # fmt: skip
    site = Path(sysconfig.get_path("purelib", vars={"base": folder}))
    for name in (
        "cloudpickle",
        "pluggy",
        "pytest",
        "iniconfig",
        "packaging",
        "pygments",
    ):
        for top in {file.parts[0] for file in metadata.distribution(name).files}:
            if top not in {"..", "__pycache__"} and not (site / top).exists():
                place = metadata.distribution(name).locate_file(top)
                (site / top).symlink_to(place)
    return made


def test_every_kind_is_tried():
    assert set(NAMES) == set(KINDS)


@pytest.mark.process
@pytest.mark.parametrize("kind", NAMES)
def test_its_own_tests_pass(python, written, kind, tmp_path):
    """With the kit, against the installed distributions."""
    folder = written / f"entangle-{NAMES[kind]}"
    chosen = ("-k", SAMPLES[kind]) if kind in SAMPLES else ()
    out = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen,
              cwd=folder, TMPDIR=str(tmp_path))  # fmt: skip
    assert " passed" in out
    assert "failed" not in out


@pytest.mark.process
@pytest.mark.parametrize("kind", NAMES)
def test_it_is_used_in_a_graph(python, written, kind, tmp_path):
    module = NAMES[kind].replace("-", "_")
    script = tmp_path / "graph.py"
    script.write_text(GRAPH.format(module=module))
    assert json.loads(run(python, script, cwd=tmp_path, TMPDIR=str(tmp_path))) == [
        5,
        [0, 2, 4, 6, 8],
        3,
    ]


@pytest.mark.process
def test_entangle_lists_them(python):
    listed = run(python, "-m", "entangle", "plugins")
    assert "executor far_cellar" in listed
    assert "executor attic" in listed
    assert "0 with problems" in listed


@pytest.mark.static
@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(
    "check", [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)]
)
def test_its_sources_pass(written, kind, check):
    """By its own settings, and with strict types."""
    tool, *rest = check
    if not (TOOLS / tool).exists():
        pytest.skip(f"{tool} is not installed")
    folder = written / f"entangle-{NAMES[kind]}"
    run(TOOLS / tool, *rest, cwd=folder, MYPYPATH="src")


def test_the_workflow_is_yaml(written):
    """With nothing left to be filled in."""
    for path in written.rglob("*"):
        if path.is_file() and "cache" not in str(path):
            text = path.read_text()
            assert "MODULE" not in str(path)
            assert path.suffix != ".in"
            assert "$" not in text.replace("${{ matrix.python }}", ""), path
    yaml = pytest.importorskip("yaml")
    for path in written.rglob("*.yml"):
        assert "test" in yaml.safe_load(path.read_text())["jobs"]


@pytest.mark.parametrize(
    "name",
    ["", "Cellar", "1st", "a b", "a_b", "../x", "-x", "x-", "class", "match", "process",
     "import", "é", "docker", "ssh"],
)  # fmt: skip
def test_names_that_can_not_be_used(name, tmp_path, capsys):
    refused = pytest.raises(SystemExit) if name == "-x" else contextlib.nullcontext()
    with refused:
        assert new_plugin(name, "--into", tmp_path) == 2
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err


def test_nothing_is_overwritten(tmp_path, capsys):
    folder = tmp_path / "entangle-cellar"
    folder.mkdir()
    (folder / "mine").write_text("x")
    assert new_plugin("cellar", "--into", tmp_path) == 2
    assert "there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["entangle-cellar", "mine"]


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert new_plugin("cellar", "--into", tmp_path / "no") == 2
    assert "no folder" in capsys.readouterr().err


def test_a_folder_that_can_not_be_written(tmp_path, capsys, monkeypatch):
    """Nothing half is left."""

    def refuse(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert new_plugin("cellar", "--into", tmp_path) == 2
    assert "disk full" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
