"""The pool over time: trimming, flat use of everything, odd surroundings."""

import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest
from life_kit import cgroup, end, output_of, program

pytestmark = pytest.mark.process

HEADER = """
import os, resource, signal, sys, threading, time
from pathlib import Path
from entangle.process import process
from entangle.thread import thread
from entangle.task import as_completed, gather, shutdown
from entangle._pool import pool
@process
def double(number): return 2 * number
def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.01)
def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
"""


def run(code, *args, **variables):
    return output_of(HEADER + textwrap.dedent(code), *args, **variables)


# -- over time


def test_idle_workers_and_zygotes_are_trimmed():
    out = run(
        """
        double.map(range(20))()
        pids = pool.existing().processes.pids()
        assert pids
        until(lambda: not pool.existing().processes.pids())
        until(lambda: not children())
        assert double(4)() == 8
        until(lambda: not children())
        print("fine")
        """,
        ENTANGLE_IDLE="0.2",
    )
    assert out == "fine\n"


def test_workers_are_not_kept_at_all():
    out = run(
        """
        for _ in range(3): assert double(4)() == 8
        until(lambda: not children())
        print("fine")
        """,
        ENTANGLE_IDLE="0",
    )
    assert out == "fine\n"


def test_a_thousand_runs_use_no_more_than_ten():
    out = run(
        """
        @process
        def fail(): raise ValueError
        def one(number):
            assert double(number)() == 2 * number
            assert gather(double(number), thread(abs)(-number))() == [2 * number, number]
            if number % 10 == 0:
                future = gather(*[double(n) for n in range(20)]).submit()
                number % 20 and future.cancel()
                future.cancelled() or future.exception() if future.done() else None
                try: fail()()
                except ValueError: pass
                for _ in as_completed([double(n) for n in range(3)]): pass
        def used():
            until(lambda: not any(run.under_way for run in list(pool.existing().runs)))
            time.sleep(0.02)
            names = os.listdir("/proc/self/fd")
            return len(names), threading.active_count(), len(children())
        for number in range(20): one(number)
        before = used()
        for number in range(1000): one(number)
        after = used()
        assert after[0] <= before[0] + 14, (before, after)  # a worker or two
        assert after[1] <= before[1] + 2, (before, after)
        assert after[2] <= before[2], (before, after)
        assert not pool.existing().runs
        shutdown()
        assert not children()
        assert threading.active_count() == 1, threading.enumerate()
        print("fine")
        """
    )
    assert out == "fine\n"


def test_memory_does_not_grow_with_runs():
    out = run(
        """
        import gc
        def memory():
            gc.collect()
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmRSS"): return int(line.split()[1])
        def some():
            for number in range(100):
                gather(*[double(n) for n in range(20)])()
        some()
        before = memory()
        for _ in range(5): some()
        assert memory() < before + 5000, (before, memory())
        print("fine")
        """
    )
    assert out == "fine\n"


# -- settings


@pytest.mark.parametrize("count", [int(os.environ.get("ENTANGLE_RUNS", "2000"))])
def test_memory_threads_and_descriptors_stay_flat(count):
    """Ten thousand runs in the long mode: ENTANGLE_RUNS=10000."""
    out = run(
        """
        import gc
        @process(fresh=True)
        def fresh(number): return number
        def some(count):
            for number in range(count):
                assert double(number)() == 2 * number
                if number % 50 == 0:
                    assert gather(double(1), thread(abs)(-2))() == [2, 2]
                    assert double(3).submit().result() == 6
                    assert fresh(number)() == number
                    assert [f.result() for _, f in as_completed([double(2)])] == [4]
        def used():
            gc.collect()
            until(lambda: not pool.existing().unsettled)
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmRSS"): memory = int(line.split()[1])
            return len(os.listdir("/proc/self/fd")), threading.active_count(), memory
        some(200)
        before = used()
        some(int(sys.argv[1]))
        until(lambda: used()[0] <= before[0] + 7)  # a worker that is just ending
        after = used()
        assert after[1] <= before[1] + 1, (before, after)
        assert after[2] <= before[2] + 2000, (before, after)
        print(before, after)
        """,
        count,
    )
    assert out


def test_two_hundred_runs_at_once():
    """From threads and from coroutines: each gets its own answer."""
    out = run(
        """
        import asyncio
        @process
        def add(a, b): return a + b
        @thread
        def square(a): return a * a
        def graph(number):
            return add(square(double(number)), gather(double(number), double(1))[0])
        def right(number): return 4 * number * number + 2 * number
        wrong = []
        def body(number):
            value = graph(number)()
            if value != right(number): wrong.append((number, value))
        threads = [threading.Thread(target=body, args=(n,)) for n in range(100)]
        async def all_of_them():
            return await asyncio.gather(*map(aio, range(100, 200)))
        async def aio(number):
            return await graph(number)
        for each in threads: each.start()
        values = asyncio.run(all_of_them())
        for each in threads: each.join()
        assert values == [right(n) for n in range(100, 200)], values
        assert not wrong, wrong
        assert not pool.existing().runs
        print("fine")
        """
    )
    assert out == "fine\n"


@pytest.mark.parametrize("text", ["zero", "0", "-1", "1.5", "²"])
def test_a_number_of_workers_that_is_none(text):
    out = run(
        """
        try:
            double(1)()
        except ValueError as error:
            assert "ENTANGLE_WORKERS" in str(error) and "set it" in str(error)
            print("told")
        os.environ["ENTANGLE_WORKERS"] = "1"
        print(double(1)())
        """,
        ENTANGLE_WORKERS=text,
    )
    assert out == "told\n2\n"


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "1s"])
def test_a_time_to_idle_that_is_none(text):
    out = run(
        """
        try:
            double(1)()
        except ValueError as error:
            assert "ENTANGLE_IDLE" in str(error) and "set it" in str(error)
            print("told")
        del os.environ["ENTANGLE_IDLE"]
        print(double(1)())
        """,
        ENTANGLE_IDLE=text,
    )
    assert out == "told\n2\n"


def test_everything_in_the_calling_thread():
    out = run(
        """
        from entangle.workflow import workflow
        @process
        def where(): return os.getpid(), threading.get_ident()
        @thread
        def here(): return threading.get_ident()
        @workflow
        def flow(number): return gather(double(number), double(double(number)))
        @process
        def change(items): items.append(1); return items
        @thread
        async def coroutine(number): return number + await double(number)
        @process
        def nested(number): return double(number)() + 1
        @process(retry=2)
        def again(): tries.append(1); return 1 / (len(tries) - 3)
        @process
        def leave(): raise SystemExit(3)
        tries, items = [], []
        assert where()() == (os.getpid(), threading.get_ident())
        assert here()() == threading.get_ident()
        assert flow(2)() == [4, 8]
        assert change(items)() == [1] and items == []
        assert coroutine(2)() == 6
        assert nested(2)() == 5
        assert again()() == -0.5
        assert double.map(range(100))() == [*range(0, 200, 2)]
        assert sorted(f.result() for _, f in as_completed(map(double, range(9)))) == [
            *range(0, 18, 2)]
        assert double(4).submit().result() == 8
        try: leave()()
        except Exception as error: print(type(error).__name__)
        chain = double(0)
        for _ in range(3000): chain = double(chain)
        assert chain() == 0
        assert children() == [] and threading.active_count() == 1
        print("fine")
        """,
        ENTANGLE_INLINE="1",
    )
    assert out == "TaskError\nfine\n"


def test_inline_says_what_it_cannot_do():
    out = run(
        """
        import warnings
        @process(timeout=5)
        def limited(): return 1
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert gather(limited(), limited())() == [1, 1]
        print(len(caught), "timeout" in str(caught[0].message))
        """,
        ENTANGLE_INLINE="1",
    )
    assert out == "1 True\n"


# -- scarce means


@pytest.mark.parametrize("limit", [14, 20, 26, 40, 64])
def test_few_descriptors(limit):
    """A value or a clear error, never a hang; and all is well afterwards."""
    out = run(
        f"""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, hard))
        try:
            assert double.map(range(50))() == [*range(0, 100, 2)]
        except (OSError, Exception) as error:
            assert type(error).__name__ in {{"OSError", "WorkerStartError"}}, repr(error)
            assert "open files" in str(error) or "descriptor" in str(error), error
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        assert double.map(range(50))() == [*range(0, 100, 2)]
        shutdown()
        assert len(os.listdir("/proc/self/fd")) <= 5, os.listdir("/proc/self/fd")
        print("fine")
        """,
        ENTANGLE_WORKERS="4",
    )
    assert out == "fine\n"


def test_few_descriptors_while_workers_are_there():
    out = run(
        """
        double(1)()
        used = len(os.listdir("/proc/self/fd"))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, hard))
        assert double.map(range(50))() == [*range(0, 100, 2)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        assert double.map(range(50))() == [*range(0, 100, 2)]
        print("fine")
        """,
        ENTANGLE_WORKERS="4",
    )
    assert out == "fine\n"


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 20])
def test_few_processes_and_threads(limit):
    """Those that exist do the work, or the error says so; then all is well."""
    with cgroup("pids", max=limit) as members:
        out = run(
            """
            members = Path(sys.argv[1])
            members.write_text(str(os.getpid()))
            try:
                assert double.map(range(50))() == [*range(0, 100, 2)]
            except Exception as error:
                assert type(error).__name__ in {"WorkerStartError", "RuntimeError"}, error
                assert "start" in str(error)
            try:
                assert gather(*[thread(abs)(-n) for n in range(50)])() == [*range(50)]
                assert double(4).submit().result(10) == 8
            except Exception as error:
                assert type(error).__name__ in {"WorkerStartError", "RuntimeError"}, error
                assert "start" in str(error)
            (members.parent / "pids.max").write_text("max")
            assert double.map(range(50))() == [*range(0, 100, 2)]
            shutdown()
            assert children() == []
            print("fine")
            """,
            members,
            ENTANGLE_WORKERS="3",
        )
    assert out == "fine\n"


# -- odd surroundings


def mounted(code, *mounts):
    """Run a program in a mount namespace of its own; skip where that is refused."""
    script = "set -e\n" + "\n".join(mounts) + '\nexec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable]
    try:
        probe = subprocess.run(
            ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"],
            capture_output=True,
            check=False,
        )
    except OSError:
        pytest.skip("unshare is not installed")
    if probe.returncode:
        pytest.skip("no mount namespaces here")
    process = subprocess.run(
        [*command, "-W", "error", "-c", HEADER + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, ""), process
    return process.stdout


WORK = """
@process
def size(data): print("printed"); return len(data)
assert size(bytes(5_000_000))() == 5_000_000
assert size.map([b"x" * number for number in range(20)])() == [*range(20)]
@process
def give(): return bytes(5_000_000)
assert len(give()()) == 5_000_000
@process(fresh=True)
def fresh(): return 1
assert fresh()() == 1
"""


def test_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    out = mounted(
        f"""
        os.environ["TMPDIR"] = "{disk}"
        os.chdir("{disk}")
        try:
            Path("{disk}/full").write_bytes(bytes(1 << 20))
        except OSError: pass
        else: raise AssertionError("not full")
        {textwrap.indent(WORK, "        ").strip()}
        @process
        def write(): Path("{disk}/more").write_bytes(bytes(100_000))
        try: write()()
        except OSError as error: print(error.errno)
        shutdown()
        """,
        f"mount -t tmpfs -o size=16k none {disk}",
    )
    assert out.splitlines()[-1] == "28"
    assert out.count("printed") == 21


def test_no_shared_memory_folder():
    out = mounted(
        f"""
        try: Path("/dev/shm/file").write_text("x")
        except OSError: pass
        else: raise AssertionError("there is one")
        {textwrap.indent(WORK, "        ").strip()}
        """,
        # As good as none, and possible where /dev is not ours.
        "mount -t tmpfs -o ro none /dev/shm",
    )
    assert out.count("printed") == 21


def test_a_working_directory_that_is_gone(tmp_path):
    out = run(
        """
        folder = sys.argv[1]
        os.mkdir(folder); os.chdir(folder); os.rmdir(folder)
        assert double(4)() == 8
        print("fine")
        """,
        tmp_path / "gone",
    )
    assert out == "fine\n"


def test_nothing_is_left_in_the_temporary_folder(tmp_path):
    out = run(
        """
        assert double.map([1, 2, 3])() == [2, 4, 6]
        @process
        def big(data): return data
        big(bytes(10_000_000))()
        assert os.listdir(sys.argv[1]) == []
        print("fine")
        """,
        tmp_path,
        TMPDIR=str(tmp_path),
    )
    assert out == "fine\n"
    assert not [*tmp_path.iterdir()]


def test_children_of_the_program_are_its_own():
    """The pool reaps none but its own; a program may wait for any child."""
    out = run(
        """
        import subprocess
        double(1)()
        child = os.fork()
        if not child: os._exit(7)
        for _ in range(20): assert double(2)() == 4
        assert os.waitpid(child, 0) == (child, 7 << 8)
        assert subprocess.run(["true"]).returncode == 0
        print("fine")
        """
    )
    assert out == "fine\n"


def test_a_program_that_ignores_its_children():
    out = run(
        """
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        assert double.map(range(10))() == [*range(0, 20, 2)]
        try:
            process(os._exit)(3)()
        except Exception as error:
            assert error.exit_code == 3, error
        assert double(2)() == 4
        shutdown()
        assert children() == []
        print("fine")
        """
    )
    assert out == "fine\n"


def test_a_program_that_reaps_every_child():
    out = run(
        """
        double(1)()
        zygote = pool.existing().processes.pids()[0]
        os.kill(zygote, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            pass  # the pool was faster
        assert double(2)() == 4
        shutdown()
        print("fine")
        """
    )
    assert out == "fine\n"


def test_a_caller_that_lowers_itself():
    """Workers take over the umask, the niceness and the locale of the caller."""
    out = run(
        """
        os.umask(0o077)
        os.nice(3)
        @process
        def state():
            mask = os.umask(0); os.umask(mask)
            return oct(mask), os.nice(0)
        assert state()() == ("0o77", 3), state()()
        os.umask(0o022)
        assert state()()[0] == "0o22"
        print("fine")
        """
    )
    assert out == "fine\n"


def test_a_caller_with_blocked_signals():
    out = run(
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        @process
        def mask(): return signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert not mask()()
        assert double.map(range(10))() == [*range(0, 20, 2)]
        shutdown()
        print("fine")
        """
    )
    assert out == "fine\n"


def test_a_suspended_program_goes_on():
    running = program(
        HEADER
        + """
print(sum(double.map(range(3000))()), flush=True)
"""
    )
    for _ in range(5):
        running.send_signal(signal.SIGSTOP)
        running.send_signal(signal.SIGCONT)
    assert end(running) == (0, f"{3000 * 2999}\n", "")
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
