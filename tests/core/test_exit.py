"""How programs end: what is awaited, what is ended, and that nothing outlives them."""

import os
import signal
import time

import pytest
from life_kit import alive, end, gone, line_of, program, read_pid, until, within

pytestmark = pytest.mark.process

HEADER = """
import os, signal, subprocess, sys, threading, time
from pathlib import Path
from entangle.process import process
from entangle.thread import thread
from entangle.task import gather, shutdown
folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
@process
def double(number): return 2 * number
@process
def write(name, text, after=0.0):
    time.sleep(after)
    (folder / name).write_text(text)
@process
def stay():
    daemon = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        start_new_session=True)
    if not os.fork():
        os.setsid()
        if not os.fork():
            (folder / "daemon").write_text(str(os.getpid()))
            while True: signal.pause()
        os._exit(0)
    found = folder / "daemon"
    while not (found.exists() and found.read_text()): time.sleep(0.01)
    # Whoever sees it may end the program at once.
    (folder / "new").write_text(f"{os.getpid()} {os.getppid()} {daemon.pid}")
    (folder / "new").rename(folder / "pids")
    print("in", flush=True)
    signal.pause()
"""


def run(code, folder, **variables):
    return program(HEADER + code, folder, **variables)


def pids_in(folder):
    text = until(lambda: (folder / "pids").exists() and (folder / "pids").read_text())
    return [*map(int, text.split()), read_pid(folder / "daemon")]


def test_submitted_runs_are_awaited_at_a_normal_exit(tmp_path):
    running = run(
        """
write("one", "1", after=0.4).submit()
gather(write("two", "2"), write("three", "3", after=0.2)).submit()
""",
        tmp_path,
    )
    assert end(running) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two"]


@pytest.mark.parametrize(
    ("how", "status"), [("sys.exit(3)", 3), ("raise SystemExit('message')", 1)]
)
def test_leaving_by_system_exit_is_a_normal_exit(tmp_path, how, status):
    running = run(f"write('one', '1', after=0.3).submit()\n{how}\n", tmp_path)
    assert end(running)[0] == status
    assert (tmp_path / "one").exists()


def test_the_output_of_awaited_runs_is_complete(tmp_path):
    running = run(
        """
@process
def say():
    time.sleep(0.3)
    print("late")
say().submit()
print("early", flush=True)
""",
        tmp_path,
    )
    assert end(running) == (0, "early\nlate\n", "")


def test_submitted_runs_are_cancelled_after_an_uncaught_exception(tmp_path):
    running = run(
        """
stay().submit()
while not (folder / "pids").exists(): time.sleep(0.01)
raise ValueError("uncaught")
""",
        tmp_path,
    )
    pids = pids_in(tmp_path)
    with within(5):
        status, _, err = end(running)
    assert status == 1
    assert err.rstrip().endswith("ValueError: uncaught")
    assert gone(*pids)


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.abort()", -signal.SIGABRT),
    ],
)
def test_other_exits_end_everything(tmp_path, how, status):
    """Not normal ends: what runs is cancelled, with all that it started."""
    running = run(
        f"""
stay().submit()
while not (folder / "pids").exists(): time.sleep(0.01)
{how}
""",
        tmp_path,
    )
    pids = pids_in(tmp_path)
    with within(5):
        assert end(running)[0] == status
    assert gone(*pids)


def test_nothing_outlives_a_killed_caller(tmp_path):
    running = run("stay()()", tmp_path)
    assert line_of(running) == "in\n"
    pids = pids_in(tmp_path)
    assert all(map(alive, pids))
    running.kill()
    running.wait()
    assert gone(*pids, seconds=3)
    end(running)


def test_nothing_outlives_a_caller_killed_with_many_workers(tmp_path):
    running = run(
        """
@process
def note(number):
    (folder / str(os.getpid())).touch()
    time.sleep(600)
gather(*[note(number) for number in range(10)])()
""",
        tmp_path,
        ENTANGLE_WORKERS="5",
    )
    until(lambda: len([*tmp_path.iterdir()]) == 5)
    pids = [int(path.name) for path in tmp_path.iterdir()]
    running.kill()
    running.wait()
    assert gone(*pids, seconds=3)
    end(running)


def test_idle_workers_end_with_the_program(tmp_path):
    running = run(
        """
from entangle._pool import pool
double.map(range(10))()
print(*pool.existing().processes.pids())
""",
        tmp_path,
    )
    with within(5):
        status, out, err = end(running)
    assert (status, err) == (0, "")
    pids = [*map(int, out.split())]
    assert pids
    assert not any(map(alive, pids))


def test_a_stuck_thread_does_not_keep_a_failed_program(tmp_path):
    running = run(
        """
begun = threading.Event()
@thread
def stuck():
    begun.set()
    time.sleep(600)
stuck().submit()
begun.wait()
raise ValueError("uncaught")
""",
        tmp_path,
    )
    with within(8):
        status, _, err = end(running)
    assert status == 1
    assert err.rstrip().endswith("ValueError: uncaught")


def test_an_abandoned_thread_does_not_keep_a_program(tmp_path):
    running = run(
        """
begun = threading.Event()
@thread
def stuck():
    begun.set()
    time.sleep(600)
@thread
def fail():
    begun.wait()
    raise ValueError
try:
    gather(stuck(), fail())()
except ValueError:
    print("failed", flush=True)
""",
        tmp_path,
    )
    with within(8):
        assert end(running) == (0, "failed\n", "")


def test_a_program_that_ends_in_a_thread(tmp_path):
    """The main thread ends first; what another one runs goes on."""
    running = run(
        """
def work():
    time.sleep(0.2)
    print(double.map(range(5))(), flush=True)
threading.Thread(target=work).start()
""",
        tmp_path,
    )
    assert end(running) == (0, "[0, 2, 4, 6, 8]\n", "")


def test_a_run_in_an_exit_handler(tmp_path):
    running = run(
        """
import atexit
atexit.register(lambda: print(double(4)()))
print(double(1)())
""",
        tmp_path,
    )
    status, out, err = end(running)
    assert out.startswith("2\n")
    assert status == 0
    assert "please report" not in err


def test_shutdown_and_on(tmp_path):
    running = run(
        """
from entangle._pool import pool
for _ in range(3):
    assert double(4)() == 8
    pids = pool.existing().processes.pids()
    shutdown()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    shutdown()
assert threading.active_count() == 1, threading.enumerate()
print("fine")
""",
        tmp_path,
    )
    assert end(running) == (0, "fine\n", "")


def test_shutdown_during_runs(tmp_path):
    running = run(
        """
import concurrent.futures
future = stay().submit()
while not (folder / "pids").exists(): time.sleep(0.01)
def wait():
    try:
        stay()()
    except BaseException as error:
        print(type(error).__name__, flush=True)
waiting = threading.Thread(target=wait)
waiting.start()
time.sleep(0.2)
shutdown()
assert future.cancelled()
waiting.join(5)
assert not waiting.is_alive()
assert double(1)() == 2
print("fine")
""",
        tmp_path,
    )
    pids = pids_in(tmp_path)
    status, out, err = end(running)
    assert (status, err) == (0, "")
    assert out.endswith("fine\n")
    assert gone(*pids)


def test_no_import_starts_anything(tmp_path):
    running = run(
        """
children = f"/proc/self/task/{os.getpid()}/children"
assert threading.active_count() == 1
assert Path(children).read_text() == ""
assert {int(name) for name in os.listdir("/proc/self/fd")} <= {0, 1, 2, 3}
print("fine")
""",
        tmp_path,
    )
    assert end(running) == (0, "fine\n", "")


def test_the_end_of_a_program_is_prompt(tmp_path):
    begun = time.monotonic()
    running = run("double(1)(); print(time.monotonic(), flush=True)", tmp_path)
    status, out, _ = end(running)
    assert status == 0
    assert time.monotonic() - float(out) < 2
    assert begun < float(out)
    assert not os.path.exists(tmp_path / "pids")
