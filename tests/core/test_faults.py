"""Whatever happens to a run, it ends in time, rightly, and leaves nothing behind.

A hundred schedules of each kind in the ordinary suite; as many as ENTANGLE_FAULTS says
in the long mode.
"""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import fault_kit
import pytest
from fault_kit import FAULTS, Schedule, Step
from hypothesis import HealthCheck, example, given, settings
from life_kit import cgroup, pool_pids, until, within

from entangle.process import process
from entangle.testing.leaks import MARK

pytestmark = [pytest.mark.process, pytest.mark.timeout(3600)]

ORDINARY = 100
COUNT = int(os.environ.get("ENTANGLE_FAULTS", ORDINARY))
PATIENCE = 20.0
FAULTY = settings(
    max_examples=COUNT,
    deadline=None,
    database=None,
    derandomize=COUNT == ORDINARY,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@process
def double(number):
    return 2 * number


@pytest.fixture
def paths(tmp_path):
    """Give an empty file each time it is asked."""
    count = 0

    def path():
        nonlocal count
        count += 1
        made = tmp_path / f"notes-{count}"
        made.touch()
        return made

    return path


def one(deed, **options):
    return Schedule(
        (Step(0, "process", deed, **options), Step(1, "process", "return", (0,)))
    )


@FAULTY
@given(schedule=fault_kit.schedules())
@example(schedule=one("garbage"))
@example(schedule=one("truncate"))
@example(schedule=one("close"))
@example(schedule=one("die", retry=2))
@example(schedule=one("stop", timeout=0.15))
@example(schedule=one("flaky", retry=2))
@example(schedule=one("memory"))
def test_a_run_that_everything_happens_to(schedule, paths, capfd):
    path = paths()
    outcome = fault_kit.run(schedule, path, pool_pids, PATIENCE)
    fault_kit.judge(schedule, outcome, path)
    capfd.readouterr()
    # The pool has healed, and the next run does not notice.
    with within(10):
        assert double.map(range(4))() == [0, 2, 4, 6]
    path.unlink()


# -- the caller is killed ----------------------------------------------------------

CALLER = """
import sys
sys.path[:0] = {path!r}
import fault_kit
schedule = {schedule!r}
from fault_kit import Schedule, Step
import threading
future = fault_kit.graph(eval(schedule), {notes!r}).submit()
print("under way", flush=True)
future.exception()
future = fault_kit.graph(eval(schedule), {notes!r}).submit()
future.exception()
"""


def marked(mark):
    """Return the processes that were started with a mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                environ = (folder / "environ").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if wanted in environ.split(b"\0") and state not in {"Z", "X"}:
                found.append(int(folder.name))
    return found


KILLED = settings(FAULTY, max_examples=max(10, COUNT // 10))


@KILLED
@given(schedule=fault_kit.schedules(faults=("kill",)))
def test_a_caller_that_is_killed(schedule, paths, tmp_path):
    """A second after it, nothing of ours is left: process, file or segment."""
    path = paths()
    folder = tmp_path / f"{path.name}-tmp"
    folder.mkdir()
    mark = folder.name
    segments = set(os.listdir("/dev/shm"))
    text = CALLER.format(
        path=[str(Path(fault_kit.__file__).parent)],
        schedule=repr(schedule),
        notes=str(path),
    )
    environ = os.environ | {MARK: mark, "TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", text], env=environ, stdout=subprocess.PIPE
    ) as caller:
        assert caller.stdout.readline() == b"under way\n"
        time.sleep(schedule.faults[0][0] / 1000 if schedule.faults else 0.0)
        caller.send_signal(signal.SIGKILL)
    begun = time.monotonic()
    until(lambda: not marked(mark), 10)
    took = time.monotonic() - begun
    assert took < 1.0, f"it took {took:.2f} s"
    assert not list(folder.iterdir())
    assert set(os.listdir("/dev/shm")) <= segments
    path.unlink()


# -- the system has nothing left ----------------------------------------------------

SCARCE = """
    import os, resource, sys
    from pathlib import Path
    from entangle.process import process
    from entangle.task import gather

    @process
    def triple(number):
        return 3 * number

    @process(fresh=True)
    def fresh(number):
        return 3 * number

    what, limit, warm = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "warm"
    if warm:
        assert triple(1)() == 3
    if what == "pids":
        folder = Path(sys.argv[4])
        (folder / "cgroup.procs").write_text(str(os.getpid()))
    else:
        number = getattr(resource, what)
        resource.setrlimit(number, (limit, resource.getrlimit(number)[1]))
    for task in (triple, fresh):
        try:
            value = gather(*map(task, range(20)))()
        except Exception as error:
            print(type(error).__name__, flush=True)
        else:
            assert value == [*range(0, 60, 3)], value
            print("right", flush=True)
    if what == "pids":
        (folder / "pids.max").write_text("max")
    else:
        resource.setrlimit(number, (resource.getrlimit(number)[1],) * 2)
    assert gather(*map(triple, range(20)))() == [*range(0, 60, 3)]
    print("healed", flush=True)
"""


@pytest.mark.parametrize("warm", ["warm", "cold"])
@pytest.mark.parametrize(
    ("what", "limit"),
    [
        *(("RLIMIT_NOFILE", limit) for limit in (7, 9, 11, 13, 16, 20, 25, 36)),
        *(("pids", limit) for limit in (1, 2, 3, 4, 6)),
        *(("RLIMIT_AS", limit << 20) for limit in (40, 48, 56, 80, 160, 400)),
    ],
)
def test_a_system_that_has_nothing_left(what, limit, warm):
    """Each run ends with its value or an error that says why, and then all is well."""
    command = [sys.executable, "-c", textwrap.dedent(SCARCE), what, str(limit), warm]
    with contextlib.ExitStack() as stack:
        if what == "pids":
            # The administrator of the system has no RLIMIT_NPROC.
            members = stack.enter_context(cgroup("pids", max=limit))
            command.append(str(members.parent))
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False
        )
    lines = done.stdout.split()
    assert done.returncode == 0, done.stderr
    assert lines[-1] == "healed", done.stderr
    allowed = {"right", "OSError", "MemoryError", "WorkerStartError", "RuntimeError"}
    allowed.add("ProcessTerminatedException")
    assert set(lines[:-1]) <= allowed


def test_all_faults_are_drawn():
    """What the schedules may hold is what the page on robustness says they hold."""
    assert set(FAULTS) == {
        "kill",
        "terminate",
        "zygote",
        "stop",
        "stop zygote",
        "cancel",
    }
    assert set(fault_kit.PROCESS) - {"return"} == set(fault_kit.DEEDS)
