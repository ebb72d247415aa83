"""Options end to end: retries, backoff, limits, waiting, starting, surroundings."""

import asyncio
import os
import threading
import time

import pytest
from life_kit import SOON, alive, gone, read_pid, until, within

from entangle.errors import ProcessRetryException, ProcessTimeoutException
from entangle.process import process
from entangle.task import gather
from entangle.thread import thread
from entangle.workflow import workflow

pytestmark = pytest.mark.process


@process
def double(number):
    return 2 * number


def count_up(folder):
    """Leave one more file in a folder; return how many there were."""
    number = len([*folder.iterdir()])
    (folder / str(number)).write_text(str(time.monotonic()))
    return number


def moments(folder):
    return sorted(float(path.read_text()) for path in folder.iterdir())


# -- retries


@pytest.mark.parametrize("how", [process, thread])
def test_a_call_is_retried_until_it_succeeds(how, tmp_path):
    @how(retry=3)
    def third(folder):
        number = count_up(folder)
        if number < 2:
            raise ValueError(number)
        return number

    assert third(tmp_path)() == 2
    assert len([*tmp_path.iterdir()]) == 3


def test_the_last_error_is_raised_as_itself(tmp_path):
    @process(retry=2)
    def fail(folder):
        raise ValueError(count_up(folder)) from KeyError("own cause")

    with pytest.raises(ValueError, match="2") as caught:
        fail(tmp_path)()
    told = caught.value.__cause__
    assert isinstance(told, ProcessRetryException)
    assert told.attempts == 3
    assert [error.args for error in told.errors] == [(0,), (1,), (2,)]
    assert isinstance(told.__cause__, KeyError)


def test_the_summary_is_raised_instead_if_asked_for(tmp_path):
    @process(retry=1, retry_error=True)
    def fail(folder):
        raise ValueError(count_up(folder))

    with pytest.raises(ProcessRetryException) as caught:
        fail(tmp_path)()
    assert caught.value.attempts == 2


def test_other_errors_are_not_retried(tmp_path):
    @process(retry=5, retry_on=(KeyError,))
    def fail(folder):
        number = count_up(folder)
        raise (KeyError if number < 1 else ValueError)(number)

    with pytest.raises(ValueError, match="1"):
        fail(tmp_path)()
    assert len([*tmp_path.iterdir()]) == 2


def test_attempts_are_spaced_by_sleep_and_backoff(tmp_path):
    @process(retry=3, sleep=0.1, backoff=2)
    def fail(folder):
        count_up(folder)
        raise ValueError

    with within(4 * SOON), pytest.raises(ValueError):  # noqa: PT011
        fail(tmp_path)()
    first, second, third, fourth = moments(tmp_path)
    # 0.1, 0.2 and 0.4 s, give or take a tenth, and however late the machine is.
    assert second - first > 0.085
    assert third - second > 0.17
    assert fourth - third > 0.34


def test_a_sleeping_retry_holds_no_worker(tmp_path):
    @process(retry=1, sleep=1.0)
    def fail(folder):
        if count_up(folder) == 0:
            raise ValueError
        return time.monotonic()

    folders = [tmp_path / str(number) for number in range(8)]
    for folder in folders:
        folder.mkdir()
    futures = [fail(folder).submit() for folder in folders]
    while not all([*folder.iterdir()] for folder in folders):
        time.sleep(0.01)
    assert double.map(range(10))() == [*range(0, 20, 2)]
    done = time.monotonic()
    assert all(future.result(10) > done for future in futures[-1:])


def test_a_timeout_is_retried(tmp_path):
    @process(timeout=0.4, retry=1)
    def slow(folder):
        if count_up(folder) == 0:
            time.sleep(600)
        return "second"

    with within(3 * SOON):
        assert slow(tmp_path)() == "second"


def test_a_retried_call_gets_its_arguments_again():
    @process(retry=2)
    def change(items, folder):
        items.append(1)
        if count_up(folder) < 2:
            raise ValueError
        return items

    import pathlib
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        assert change([0], pathlib.Path(name))() == [0, 1]


def test_a_retried_coroutine():
    tries = []

    @thread(retry=2)
    async def third():
        await asyncio.sleep(0)
        tries.append(1)
        if len(tries) < 3:
            raise ValueError
        return len(tries)

    assert third()() == 3


# -- limits


@pytest.mark.parametrize("how", [process, thread])
def test_a_limit_of_calls_at_once(how, tmp_path):
    @how(limit=2)
    def count(folder, number):
        mine = folder / str(number)
        mine.touch()
        time.sleep(0.02)
        seen = len([*folder.iterdir()])
        mine.unlink()
        return seen

    assert max(gather(*[count(tmp_path, number) for number in range(16)])()) <= 2


def test_a_limit_over_several_runs(tmp_path):
    @thread(limit=1)
    def alone(folder, number):
        mine = folder / str(number)
        mine.touch()
        time.sleep(0.01)
        seen = len([*folder.iterdir()])
        mine.unlink()
        return seen

    futures = [alone(tmp_path, number).submit() for number in range(10)]
    assert [future.result(10) for future in futures] == [1] * 10


def test_a_cancelled_call_leaves_its_place(tmp_path):
    @process(limit=1)
    def one(path):
        path.write_text(str(os.getpid()))
        time.sleep(600)

    @process(limit=1)
    def other():
        return "ran"

    future = one(tmp_path / "first").submit()
    read_pid(tmp_path / "first")
    waiting = one(tmp_path / "second").submit()
    future.cancel()
    pid = read_pid(tmp_path / "second")
    waiting.cancel()
    assert gone(pid)
    assert other()() == "ran"


# -- waiting and starting


def test_a_wait_for_arguments(tmp_path):
    @process
    def slow(path):
        path.write_text(str(os.getpid()))
        time.sleep(600)

    @process(wait=0.5)
    def take(value):
        return value

    with within(2 * SOON), pytest.raises(ProcessTimeoutException) as caught:
        take(slow(tmp_path / "pid"))()
    assert caught.value.phase == "wait"
    assert caught.value.seconds == 0.5
    assert not alive(read_pid(tmp_path / "pid"))


def test_a_wait_that_is_long_enough():
    @process(wait=20)
    def take(value):
        return value

    assert take(double(2))() == 4


def test_a_wait_for_a_thread_abandons_it():
    go, begun = threading.Event(), threading.Event()

    @thread
    def slow():
        begun.set()
        go.wait(20)

    @thread(wait=0.3)
    def take(value):
        return value

    with within(2 * SOON), pytest.raises(ProcessTimeoutException):
        take(slow())()
    assert begun.is_set()
    go.set()


def test_a_start_that_takes_too_long(tmp_path):
    @process(start=0.4)
    def brief():
        return "ran"

    @process
    def hold(path):
        path.write_text(str(os.getpid()))
        time.sleep(600)

    count = os.cpu_count() or 1
    holding = gather(*[hold(tmp_path / str(n)) for n in range(count)]).submit()
    try:
        for number in range(count):
            read_pid(tmp_path / str(number))
        with within(2 * SOON), pytest.raises(ProcessTimeoutException) as caught:
            brief()()
        assert caught.value.phase == "start"
    finally:
        holding.cancel()
    with pytest.raises(BaseException):  # noqa: B017, PT011
        holding.result(5)
    assert brief()() == "ran"


# -- surroundings


def test_an_environment_of_its_own(monkeypatch):
    @process(env={"OWN": "1", "BOTH": "task"})
    def look():
        return [os.environ.get(name) for name in ("OWN", "BOTH", "CALLER")]

    @process
    def plain():
        return [os.environ.get(name) for name in ("OWN", "BOTH", "CALLER")]

    monkeypatch.setenv("BOTH", "caller")
    monkeypatch.setenv("CALLER", "2")
    assert look()() == ["1", "task", "2"]
    assert plain()() == [None, "caller", "2"]
    monkeypatch.setenv("CALLER", "3")
    assert look()() == ["1", "task", "3"]


def test_a_working_directory_of_its_own(tmp_path):
    @process(cwd=str(tmp_path))
    def here():
        return os.getcwd()

    @process
    def plain():
        return os.getcwd()

    assert here()() == str(tmp_path)
    assert plain()() == os.getcwd()


def test_a_working_directory_that_is_none(tmp_path):
    @process(cwd=str(tmp_path / "none"))
    def here():
        return os.getcwd()

    for _ in range(2):
        with within(), pytest.raises(FileNotFoundError):
            here()()
    assert double(1)() == 2


def test_a_niceness_of_its_own():
    @process(nice=5)
    def niceness():
        return os.nice(0)

    assert niceness()() == os.nice(0) + 5
    assert niceness()() == os.nice(0) + 5


def test_a_pristine_process_for_each_call():
    @process(fresh=True)
    def stain():
        import builtins

        stained = hasattr(builtins, "stain")
        builtins.stain = True
        return os.getpid(), stained

    calls = [stain()() for _ in range(4)]
    assert len({pid for pid, _ in calls}) == 4
    assert not any(stained for _, stained in calls)
    assert gone(*[pid for pid, _ in calls])


def test_pristine_processes_are_forked_ahead(monkeypatch, tmp_path):
    """One waits for the next call, and knows what has changed since it was forked."""

    @process(fresh=True)
    def state():
        return os.getpid(), os.getenv("CHANGED"), os.getcwd()

    first = state()()
    assert first[1] is None
    ahead = until(lambda: {*idle_pids()})
    assert first[0] not in ahead
    monkeypatch.setenv("CHANGED", "yes")
    monkeypatch.chdir(tmp_path)
    second = state()()
    assert second[0] in ahead
    assert second[1:] == ("yes", str(tmp_path))
    states = [state()() for _ in range(5)]
    assert {state[1:] for state in states} == {second[1:]}
    assert len({pid for pid, *_ in states}) == 5


@pytest.mark.parametrize("options", [{"fresh": True}, {"nice": 1}, {}])
def test_a_directory_that_was_made_anew_under_its_name(options, monkeypatch, tmp_path):
    @process(**options)
    def look():
        return os.getcwd(), os.path.exists("mark")

    folder = tmp_path / "folder"
    for _ in range(3):
        folder.mkdir()
        (folder / "mark").touch()
        monkeypatch.chdir(folder)
        assert look()() == (str(folder), True)
        (folder / "mark").unlink()
        folder.rmdir()


def idle_pids():
    """Return the process ids of fresh workers that nothing was given to yet."""
    from entangle._pool import pool

    fleet = pool.existing().processes._fleet
    fresh = [worker for worker in fleet if worker.key.fresh and not worker.used]
    return [worker.pid for worker in fresh if worker.pid]


def test_a_pristine_process_that_holds_modules_already():
    @process(fresh=True, preload=["fractions"])
    def held():
        import sys

        return "fractions" in sys.modules, "turtle" in sys.modules

    assert held()() == (True, False)


def test_a_preloaded_module_that_is_none():
    @process(fresh=True, preload=["no_such_module_anywhere"])
    def held():
        return "ran"

    with within(2 * SOON):
        assert held()() == "ran"


def test_random_numbers_differ_between_workers():
    @process(fresh=True)
    def draw():
        import random

        return random.random()

    assert len({*gather(*[draw() for _ in range(6)])()}) == 6


def test_a_coroutine_in_a_process():
    @process
    async def slow(number):
        await asyncio.sleep(0.01)
        return number + 1

    assert slow.map(range(5))() == [1, 2, 3, 4, 5]


def test_a_foreign_executor():
    from concurrent.futures import ThreadPoolExecutor

    from entangle.task import task

    with ThreadPoolExecutor(2, thread_name_prefix="foreign") as executor:

        @task(executor=executor)
        def where(number):
            return threading.current_thread().name, double(number)()

        names = gather(*[where(number) for number in range(6)])()
    assert all(name.startswith("foreign") for name, _ in names)
    assert [value for _, value in names] == [*range(0, 12, 2)]


def test_a_workflow_that_chooses_at_run_time():
    @workflow
    def choose(number):
        return double(number) if number < 10 else [double(number), double(1)]

    assert choose(double(2))() == 8
    assert choose(double(20))() == [80, 2]
