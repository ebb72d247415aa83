"""Places live as long as they are used, and whatever dies is told and leaves nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from life_kit import alive, end, gone, program, read_pid, until, within
from remote_kit import HereExecutor

from entangle._remote import places
from entangle.errors import (
    EntangleError,
    NestedRunError,
    PlaceError,
    ProcessTerminatedException,
    ProcessTimeoutException,
)
from entangle.process import process
from entangle.task import as_completed, gather, shutdown, task
from entangle.testing import RecordedCall

pytestmark = pytest.mark.process


@pytest.fixture
def here():
    with HereExecutor() as executor:
        yield executor


def enter(folder, name="pid"):
    """Say who runs, then stay."""
    Path(folder, name).write_text(f"{os.getpid()}")
    time.sleep(600)


def descendants(folder):
    """Start a process that escapes, then stay."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    Path(folder, "child").write_text(str(child.pid))
    enter(folder)


# -- warm workers


def test_workers_and_places_are_reused(here):
    """Several runs use one stream, and as many processes as calls at once."""
    pid = task(executor=here)(os.getpid)
    first = {pid()() for _ in range(5)}
    assert len(first) == 1
    assert len(here.streams) == 1
    assert os.getpid() not in first


def test_several_calls_at_once_in_one_place(tmp_path):
    """As many as asked for, each in a process of its own."""

    def meet(folder, count):
        Path(folder, str(os.getpid())).touch()
        end = time.monotonic() + 30
        while len(os.listdir(folder)) < count and time.monotonic() < end:
            time.sleep(0.005)
        return os.getpid()

    with HereExecutor(calls=3) as executor:
        met = task(executor=executor)(meet)
        pids = gather(*[met(str(tmp_path), 3) for _ in range(3)])()
        assert len(set(pids)) == 3
        assert len(executor.streams) == 1


def test_several_places(tmp_path):
    """No more than asked for are opened, and the calls are spread over them."""

    def parent(folder):
        Path(folder, str(os.getpid())).touch()
        end = time.monotonic() + 30
        while len(os.listdir(folder)) < 2 and time.monotonic() < end:
            time.sleep(0.005)
        return os.getppid()

    with HereExecutor(places=2, calls=1) as executor:
        hosts = task(executor=executor)(parent)
        assert len(set(gather(*[hosts(str(tmp_path)) for _ in range(2)])())) == 2
        gather(*[hosts(str(tmp_path)) for _ in range(20)])()
        assert len(executor.streams) == 2


def test_fresh_calls_get_a_process_that_ran_nothing(here):
    pid = task(executor=here, fresh=True)(os.getpid)
    assert len({pid()() for _ in range(4)}) == 4
    assert len(here.streams) == 1


def test_options_of_a_process(here, tmp_path):
    look = task(executor=here, env={"A": "1"}, cwd=str(tmp_path), nice=3)(
        lambda: (os.environ["A"], os.getcwd(), os.nice(0))
    )
    assert look()() == ("1", str(tmp_path), os.nice(0) + 3)
    assert task(executor=here)(lambda: "A" in os.environ)()() is False
    missing = task(executor=here, cwd="/nowhere")(os.getcwd)
    with pytest.raises(FileNotFoundError) as caught:
        missing()()
    assert caught.value.filename == "/nowhere"
    assert "entangle/" not in "".join(caught.value.__notes__)


def test_an_unused_place_is_closed():
    with HereExecutor(idle=0.1) as executor:
        assert executor.submit(abs, -1).result() == 1
        pid = executor.streams[0].pid
        assert gone(pid)
        assert executor.submit(abs, -2).result() == 2
        assert len(executor.streams) == 2


def test_settings_that_make_no_sense():
    for settings in ({"places": 0}, {"calls": 0}, {"idle": -1}, {"idle": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            HereExecutor(**settings)


def test_nothing_runs_after_shutdown(here):
    future = here.submit(time.sleep, 0.2)
    here.shutdown()
    assert future.done()
    with pytest.raises(RuntimeError, match="shutdown"):
        here.submit(abs, 1)
    with pytest.raises(RuntimeError, match="shutdown"):
        task(executor=here)(abs)(1)()


def test_the_end_of_the_pool_ends_places(here, tmp_path):
    future = here.submit(enter, str(tmp_path))
    pid = read_pid(tmp_path / "pid")
    shutdown()
    with pytest.raises(CancelledError):
        future.result(10)
    assert gone(pid, here.streams[0].pid)
    assert here.submit(abs, -2).result() == 2


# -- ends


def test_a_timeout_ends_the_process_with_its_descendants(here, tmp_path):
    slow = task(executor=here, timeout=0.5)(descendants)
    with pytest.raises(ProcessTimeoutException) as caught:
        slow(str(tmp_path))()
    assert caught.value.phase == "body"
    assert gone(read_pid(tmp_path / "pid"), read_pid(tmp_path / "child"))
    assert here.submit(abs, -1).result() == 1
    assert len(here.streams) == 1


def test_a_call_that_waits_is_dropped():
    with HereExecutor(calls=1) as executor:
        first = executor.submit(time.sleep, 0.5)
        until(first.running)
        second = executor.submit(abs, -1)
        assert second.cancel()
        assert first.result() is None


def test_cancelling_takes_nobody_along(here, tmp_path):
    """What waits behind a call that is ended is run elsewhere."""
    tiny = task(executor=here)(abs)
    gather(*[tiny(n) for n in range(200)])()
    run = task(executor=here)(enter)(str(tmp_path)).submit()
    pid = read_pid(tmp_path / "pid")
    values = gather(*[tiny(-n) for n in range(100)]).submit()
    run.cancel()
    assert values.result(20) == list(range(100))
    assert gone(pid)


def test_a_worker_that_dies(here):
    def leave():
        os._exit(7)

    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    for body, code, number in ((leave, 7, None), (killed, None, signal.SIGKILL)):
        with within(5), pytest.raises(ProcessTerminatedException) as caught:
            task(executor=here)(body)()()
        assert (caught.value.exit_code, caught.value.signal) == (code, number)
        assert caught.value.node.endswith(body.__name__)
    assert here.submit(abs, -1).result() == 1


def test_a_host_that_is_killed(here, tmp_path):
    """The signal is told, and what its workers had started ends."""
    run = task(executor=here)(descendants)(str(tmp_path)).submit()
    pids = read_pid(tmp_path / "pid"), read_pid(tmp_path / "child")
    os.kill(here.streams[0].pid, signal.SIGKILL)
    with within(5), pytest.raises(ProcessTerminatedException) as caught:
        run.result(20)
    assert caught.value.signal == signal.SIGKILL
    assert "here" in str(caught.value)
    assert gone(pids[0])
    os.kill(pids[1], signal.SIGKILL)  # nobody is left there who could have
    assert here.submit(abs, -1).result() == 1


def test_a_host_that_is_stopped(here, tmp_path):
    """A timeout ends the place, which doesn't answer."""
    slow = task(executor=here, timeout=0.5)(enter)
    run = slow(str(tmp_path)).submit()
    pid = read_pid(tmp_path / "pid")
    os.kill(here.streams[0].pid, signal.SIGSTOP)
    with within(10), pytest.raises(ProcessTimeoutException):
        run.result(20)
    assert gone(pid, here.streams[0].pid)
    assert here.submit(abs, -1).result() == 1


def test_a_place_that_says_why_it_ends(tmp_path):
    script = tmp_path / "python3"
    script.write_text("#!/bin/sh\nprintf 'no room here\\033[31m\\n' >&2\nexit 5\n")
    script.chmod(0o755)
    with HereExecutor(script) as executor:
        with pytest.raises(PlaceError, match="exit code 5") as caught:
            executor.submit(abs, 1).result(20)
        assert "no room here" in caught.value.said
        assert "\\x1b[31m" in caught.value.said
        assert caught.value.place == "here"


def test_a_place_that_ends_before_it_answers_is_not_opened_again():
    """For the same call: why it has ended may not be told yet."""
    with HereExecutor(["/bin/sh", "-c", "exit 5"]) as executor:
        for count in range(1, 21):
            with pytest.raises(PlaceError):
                executor.submit(abs, 1).result(20)
            assert len(executor.streams) == count


def test_a_place_without_python():
    with HereExecutor(["/bin/sh", "-c", "exec nopython3"]) as executor:
        with pytest.raises(PlaceError, match="no python3"):
            executor.submit(abs, 1).result(20)
        with pytest.raises(PlaceError, match="no python3"):
            task(executor=executor)(abs)(1)()
    with HereExecutor("/nowhere/python3") as executor:
        with pytest.raises(FileNotFoundError):
            executor.submit(abs, 1).result(20)


def test_a_place_that_cannot_be_opened_beside_one_that_can():
    """The one that is there does all."""

    class Once(HereExecutor):
        def open(self, command):
            if self.streams:
                raise PermissionError("one is enough")
            return super().open(command)

    with Once(places=3, calls=1) as executor:
        tasks = task(executor=executor)(abs)
        assert gather(*[tasks(-n) for n in range(50)])() == list(range(50))


def test_ctrl_c_while_a_place_opens():
    """The run ends at once; a stream that comes later is ended unused."""
    running = program(
        """
import sys, threading
sys.path.insert(0, TESTS)
from remote_kit import HereExecutor
from entangle.task import task
gate = threading.Event()
class Slow(HereExecutor):
    def open(self, command):
        print("opening", flush=True)
        gate.wait()
        return super().open(command)
executor = Slow()
try:
    task(executor=executor)(abs)(1)()
except KeyboardInterrupt:
    gate.set()
    executor.shutdown()
    print("over", executor.streams[0].ended().exit_code)
""".replace("TESTS", repr(str(Path(__file__).parents[1])))
    )
    assert running.stdout.readline() == b"opening\n"
    running.send_signal(signal.SIGINT)
    code, out, err = end(running)
    assert (code, err) == (0, "")
    assert out.startswith("over")


def test_a_caller_that_is_killed_leaves_nothing(tmp_path):
    running = program(f"""
import os, subprocess, sys, time
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from remote_kit import HereExecutor
from entangle.task import task
def descendants(folder):
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    Path(folder, "child").write_text(str(child.pid))
    Path(folder, "pid").write_text(str(os.getpid()))
    Path(folder, "host").write_text(str(os.getppid()))
    time.sleep(600)
task(executor=HereExecutor())(descendants)({str(tmp_path)!r})()
""")
    pids = [read_pid(tmp_path / name) for name in ("host", "pid", "child")]
    assert all(map(alive, pids))
    running.kill()
    end(running)
    assert gone(*pids, seconds=5)


def test_a_fork_of_the_caller_holds_no_stream(here):
    """The host learns of the caller's end although a child of it lives on."""
    assert here.submit(abs, -1).result() == 1
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    try:
        host = here.streams[0].pid
        here.shutdown()
        assert gone(host)
    finally:
        os.close(write)
        os.waitpid(pid, 0)


# -- values


def test_a_place_where_nothing_can_be_written():
    """No home, no path to speak of, a directory that nobody can write to."""
    with HereExecutor(env={}, cwd="/proc") as executor:
        value = executor.submit(lambda: (os.getcwd(), "HOME" in os.environ)).result(20)
        assert value == ("/proc", False)


def test_a_gigabyte(here):
    """It passes in parts: little more memory is needed than for the value."""

    def look(data):
        import resource

        return len(data), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    import numpy as np

    size = 1_000_000_000
    length, kibibytes = here.submit(look, np.zeros(size, np.uint8)).result(100)
    assert length == size
    assert kibibytes < 1.3 * size / 1024


def test_arguments_of_other_places(here):
    """Values go from processes to places and back, decoded where they are used."""
    import numpy as np

    make = process(lambda n: np.arange(n))
    double = task(executor=here)(lambda a: a * 2)
    total = process(lambda a: int(a.sum()))
    assert total(double(make(100_000)))() == 2 * sum(range(100_000))


def test_shared_arguments_travel_once(here):
    import numpy as np

    big = np.ones(1_000_000)
    add = task(executor=here)(lambda a, n: float(a[n]) + n)
    assert gather(*[add(big, n) for n in range(8)])() == [1.0 + n for n in range(8)]


def test_returned_nodes_are_run_by_the_caller(here):
    def build(n):
        from entangle.process import process

        return [process(abs)(-n), n]

    assert task(executor=here)(build)(3)() == [3, 3]


def test_there_is_no_pool(here):
    def pooled():
        from entangle.backend import ProcessExecutor

        return ProcessExecutor().submit(abs, -1).result()

    with pytest.raises(NestedRunError, match="return the node"):
        task(executor=here)(pooled)()()


def test_what_cannot_be_sent(here):
    with pytest.raises(EntangleError, match="lock"):
        task(executor=here)(lambda lock: 1)(threading.Lock())()
    with pytest.raises(EntangleError, match="lock"):
        here.submit(lambda lock: 1, threading.Lock()).result(20)
    with pytest.raises(EntangleError, match="lock"):
        task(executor=here)(lambda: threading.Lock())()()


def test_shared_memory_is_not_to_be_had_there(here):
    """Asking for it waits for nobody."""

    def ask():
        from entangle._worker import main, memory

        granted = main.current.space.ask(1 << 20), main.current.space.find("x")
        return granted, memory.allocate(1 << 20)

    assert here.submit(ask).result(20) == ((None, None), None)


def test_coroutine_functions(here):
    async def later(n):
        import asyncio

        await asyncio.sleep(0)
        return n + 1

    assert task(executor=here)(later)(1)() == 2
    assert here.submit(later, 2).result(20) == 3


def test_a_place_that_takes_too_long():
    """Whatever waits for it fails; what comes later is ended unused."""
    gate = threading.Event()

    class Slow(HereExecutor):
        patience = 0.2

        def open(self, command):
            gate.wait(30)
            return super().open(command)

    with Slow() as executor:
        with pytest.raises(ProcessTimeoutException) as caught:
            task(executor=executor)(abs)(1)()
        assert (caught.value.phase, caught.value.seconds) == ("start", 0.2)
        gate.set()
        until(lambda: executor.streams)
        assert gone(executor.streams[0].pid)


def test_a_place_that_says_nothing_for_too_long():
    class Silent(HereExecutor):
        patience = 0.2

    with Silent([sys.executable, "-c", "import sys; sys.stdin.read()"]) as executor:
        with pytest.raises(ProcessTimeoutException):
            executor.submit(abs, 1).result(20)
        assert gone(executor.streams[0].pid)


# -- output


def test_output_is_there_while_the_body_runs(here, tmp_path):
    """Of Python, of C, of other programs; each whole, and apart."""

    def speak(folder):
        import ctypes

        print("from Python", flush=True)
        print("as an error", file=sys.stderr)
        libc = ctypes.CDLL(None)
        libc.puts(b"from C")
        libc.fflush(None)
        os.system("echo from a program")
        end = time.monotonic() + 30
        while not Path(folder, "seen").exists() and time.monotonic() < end:
            time.sleep(0.005)
        print("at the end", end="")

    call = RecordedCall(speak, str(tmp_path))
    here.start(call)
    lines = ["from Python", "from C", "from a program"]
    until(lambda: call.text("stdout").splitlines() == lines)
    until(lambda: call.text("stderr") == "as an error\n")
    assert not call.ends()
    (tmp_path / "seen").touch()
    assert call.end().kind == "succeeded"
    assert call.text("stdout").splitlines() == [*lines, "at the end"]


def test_output_of_several_calls_is_apart():
    """Each call gets its own lines, although they run at the same time."""

    def speak(name):
        for number in range(500):
            print(name, number)

    with HereExecutor(calls=3) as executor:
        calls = [RecordedCall(speak, name) for name in "abc"]
        for call in calls:
            executor.start(call)
        for call, name in zip(calls, "abc", strict=True):
            call.end()
            expected = [f"{name} {number}" for number in range(500)]
            assert call.text("stdout").splitlines() == expected


# -- tiny calls in batches


def mostly_tiny(number, slow, gate):
    """Return at once, but for one number, which waits for a file."""
    end = time.monotonic() + 30
    while number == slow and not os.path.exists(gate) and time.monotonic() < end:
        time.sleep(0.005)
    return number


@pytest.mark.parametrize("slow", [0, 7, 39])
def test_a_slow_call_keeps_no_other_waiting(tmp_path, slow):
    """Results before it in its batch are told, calls behind it run elsewhere."""
    gate = str(tmp_path / "gate")
    with HereExecutor(calls=2) as executor:
        call = task(executor=executor)(mostly_tiny)
        gather(*[call(n, -1, gate) for n in range(300)])()
        landed = []
        for _, future in as_completed([call(n, slow, gate) for n in range(40)]):
            landed.append(future.result())
            if len(landed) == 39:
                assert slow not in landed
                Path(gate).touch()
        assert sorted(landed) == list(range(40))


def test_a_timeout_counts_for_its_own_call_alone(tmp_path):
    """Tiny calls beside it, of the same function, are not taken along."""
    gate = str(tmp_path / "gate")
    with HereExecutor(calls=1) as executor:
        call = task(executor=executor)(mostly_tiny)
        gather(*[call(n, -1, gate) for n in range(300)])()
        late = task(executor=executor, timeout=0.3)(mostly_tiny)
        pairs = as_completed(
            [late(1, 1, gate), *[call(n, -1, gate) for n in range(50)]]
        )
        outcomes = [future.exception() for _, future in pairs]
        assert [type(error) for error in outcomes if error] == [ProcessTimeoutException]
        assert len(executor.streams) == 1


def test_a_place_that_was_stopped_while_unused(here, monkeypatch):
    """It is asked before it is used, and replaced when it does not answer."""
    monkeypatch.setattr(places, "STALE", 0.3)
    assert here.submit(abs, -1).result(20) == 1
    os.kill(here.streams[0].pid, signal.SIGSTOP)
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > 0.5)
    assert here.submit(abs, -2).result(20) == 2
    assert len(here.streams) == 2
    assert gone(here.streams[0].pid)
    assert [task(executor=here)(abs)(-n)() for n in range(5)] == list(range(5))
