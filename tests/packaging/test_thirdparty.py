"""A distribution of somebody else's adds a place to run, and can be taken away again."""

import ast
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "entangle-core"
ONPREM = ROOT / "tests" / "thirdparty" / "entangle-onprem"
SOURCES = sorted((ONPREM / "src").rglob("*.py"))

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

GRAPH = """
import itertools, json, os, time
from pathlib import Path
from entangle.errors import ProcessTimeoutException
from entangle.process import process
from entangle.task import gather, task
from entangle_onprem import onprem

def by_daemon():
    return "entangle_onprem.daemon" in Path(f"/proc/{os.getppid()}/cmdline").read_text()

decorators = {
    "process": process,
    "onprem": onprem(slots=1),
    "policy": task(timeout=60, retry=1),
}
tasks = {}
for order in itertools.permutations(decorators):
    made = by_daemon
    for name in reversed(order):
        made = decorators[name](made)
    tasks[" ".join(order)] = made
values = gather(*[made() for made in tasks.values()])()
specs = {(repr(made.options.executor), made.options.retry) for made in tasks.values()}

@process
def here(number):
    assert not by_daemon()
    return number + 1

@onprem
def there(number):
    assert by_daemon()
    return number * 2

@onprem
@process(retry=1)
def second(path):
    if not Path(path).exists():
        Path(path).touch()
        raise ValueError("once more")
    return "second"

@process(timeout=0.3)
@onprem
def slow():
    time.sleep(60)

try:
    slow()()
except ProcessTimeoutException as error:
    late = error.phase

print(json.dumps({
    "values": dict(zip(tasks, values)),
    "specs": len(specs),
    "graph": here(there(here(1)))(),
    "retried": second("once")(),
    "late": late,
    "plan": str(there(1).plan()),
}))
"""

NAMED = """
import os, sys
from pathlib import Path
from entangle.errors import PluginError
from entangle.process import process
from entangle.task import task

@task(executor="onprem")
def parent():
    return Path(f"/proc/{os.getppid()}/cmdline").read_text()

@process
def twice(number):
    return 2 * number

print("entangle_onprem" in sys.modules, twice(4)())
try:
    print("daemon" if "entangle_onprem.daemon" in parent()() else "process")
except PluginError as error:
    print(error)
"""


def run(*command, cwd="/", code=0, **variables):
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def pip(python, *arguments):
    run(sys.executable, "-m", "pip", "--python", python, "--quiet", *arguments)


def entangle(python, *arguments, **variables):
    return run(python, "-m", "entangle", *arguments, **variables)


def link(site, *names):
    """Put distributions of this environment into a folder, so that no index is asked."""
    for name in names:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files}:
            if top not in {"..", "__pycache__"} and not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    return site


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Build both wheels."""
    folder = tmp_path_factory.mktemp("dist")
    for project in (CORE, ONPREM):
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation",
            "--outdir", folder, project)  # fmt: skip
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheels, tmp_path_factory):
    """The folder of a Python with both wheels, and no source tree."""
    folder = tmp_path_factory.mktemp("both")
    venv.create(folder, symlinks=True)
    pip(folder / "bin" / "python", "install", "--no-index", "--no-deps", *wheels)
    link(site_of(folder), "cloudpickle", "pluggy")
    return folder


@pytest.fixture(scope="module")
def python(environment):
    return environment / "bin" / "python"


def site_of(environment):
    return Path(sysconfig.get_path("purelib", vars={"base": environment}))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_it_imports_nothing_private(path):
    """A backend can be written with what is public alone."""
    private = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        private += [
            name
            for name in names
            if name.partition(".")[0] == "entangle" and "._" in name
        ]
    assert private == []


def test_the_files_of_both_are_apart(environment):
    """Neither distribution has a file of the other's."""
    found = [
        distribution
        for distribution in metadata.distributions(path=[str(site_of(environment))])
        if distribution.name.startswith("entangle")
    ]
    assert sorted(each.name for each in found) == ["entangle-core", "entangle-onprem"]
    first, second = ({str(file) for file in each.files} for each in found)
    assert not first & second


def test_graphs(python, tmp_path):
    """The decorator composes in any order, beside other places, with options."""
    script = tmp_path / "graph.py"
    script.write_text(GRAPH)
    found = json.loads(run(python, script, cwd=tmp_path))
    assert len(found["values"]) == 6
    assert all(found["values"].values()), found["values"]
    assert found["specs"] == 1
    assert (found["graph"], found["retried"], found["late"]) == (5, "second", "body")
    assert "onprem: a private spool, 2 jobs at once" in found["plan"]


def test_by_name(python, tmp_path):
    """It is found when its name is used, and replaced where the user says so."""
    script = tmp_path / "named.py"
    script.write_text(NAMED)
    assert run(python, script) == "False 8\ndaemon\n"
    local = run(python, script, ENTANGLE_TARGETS="onprem=local")
    assert local == "False 8\nprocess\n"


def test_commands(python, tmp_path):
    """The commands of core tell of it, and it adds one."""
    listed = entangle(python, "plugins")
    assert "onprem (entangle-onprem 1.0.0, entangle_onprem.plugin" in listed
    for added in (
        "executor onprem",
        "command onprem-status",
        "doctor checks",
        "estimates",
        "sweeps",
    ):
        assert added in listed
    assert "0 with problems" in listed
    spools = {"ENTANGLE_ONPREM_SPOOLS": str(tmp_path / "spool")}
    assert "jobs can be ended" in entangle(python, "doctor")
    assert "there is no such folder" in entangle(python, "doctor", **spools)
    status = entangle(python, "onprem-status", **spools)
    assert status.splitlines()[0] == f"{tmp_path}/spool: there is no such folder"
    script = tmp_path / "flow.py"
    script.write_text("from entangle_onprem import onprem\nresult = onprem(abs)(-1)\n")
    planned = entangle(python, "plan", script)
    assert "abs: 1 call in onprem" in planned
    assert "a private spool, 2 jobs at once" in planned
    planned = entangle(python, "plan", script, ENTANGLE_TARGETS="onprem=local")
    assert "instead of onprem" in planned


def test_sweep(python, tmp_path):
    """What a killed program and its daemon have left is found, then removed."""
    client = tmp_path / "entangle-onprem-left" / "clients" / "1-x"
    client.mkdir(parents=True)
    (client / "owner").write_text('{"pid": 1, "started": -1, "slots": 2}')
    temporary = {"TMPDIR": str(tmp_path)}
    found = entangle(python, "sweep", "--dry-run", **temporary)
    assert f"found spool {tmp_path}/entangle-onprem-left" in found
    assert "1 leftover, 0 problems" in found
    assert "removed spool" in entangle(python, "sweep", "onprem", **temporary)
    assert "0 leftovers" in entangle(python, "sweep", **temporary)


def test_its_own_tests_pass(python, tmp_path):
    """Among them Entangle's conformance suite, on the installed wheels."""
    tools = ("pytest", "iniconfig", "packaging", "pygments", "pytest-timeout")
    tests = shutil.copytree(ONPREM / "tests", tmp_path / "tests")
    (tmp_path / "tools").mkdir()
    path = str(link(tmp_path / "tools", *tools))
    pytest_ = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=120")
    told = run(*pytest_, "--rootdir", tests, tests, cwd=tmp_path, PYTHONPATH=path)
    assert " passed" in told
    assert "skipped" not in told
    # The same suite, for whoever has it installed.
    target = ("--entangle-target", "onprem(slots=1)", "-k", "shutdown")
    assert "1 passed" in run(*pytest_, *target, cwd=tests, PYTHONPATH=path)


def test_it_can_be_taken_away(environment, tmp_path):
    """Then its name is an error that says so, and the rest works as before."""
    copy = shutil.copytree(environment, tmp_path / "without", symlinks=True)
    python = copy / "bin" / "python"
    pip(python, "uninstall", "--yes", "entangle-onprem")
    script = tmp_path / "named.py"
    script.write_text(NAMED)
    told = run(python, script).splitlines()
    assert told[0] == "False 8"
    assert told[1].startswith("no executor named 'onprem' is registered")
    assert "onprem" not in entangle(python, "plugins")
