"""What several calls, runs or processes have in common, and what not."""

import itertools
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from entangle.errors import TaskError
from entangle.local import local
from entangle.process import process
from entangle.scheduler import scheduler
from entangle.task import gather, task
from entangle.thread import thread

pytestmark = pytest.mark.process

SPAN = 0.05


@process
def grow(number, values):
    values.append(number)
    return list(values)


def test_a_small_list_given_to_many_calls_is_copied_for_each():
    """Also where calls are sent together."""
    grown = grow.map(range(1000), values=[])()
    assert grown == [[number] for number in range(1000)]


@process
def empty():
    return []


def test_a_small_value_taken_by_many_calls_is_copied_for_each():
    node = empty()
    grown = gather(*[grow(number, node) for number in range(200)])()
    assert grown == [[number] for number in range(200)]


@pytest.mark.parametrize(
    "body",
    ["return inner().submit().result()", "return inner()()"],
    ids=["result", "call"],
)
def test_a_task_that_waits_for_a_run_needs_no_processor(tmp_path, body):
    assert _alone(tmp_path, f"def outer():\n    {body}") == "5\n"


def test_a_coroutine_that_waits_for_a_run_needs_no_processor(tmp_path):
    assert _alone(tmp_path, "async def outer():\n    return await inner()") == "5\n"


def _alone(folder, outer):
    """Run a nested graph where one process may run at once."""
    head = textwrap.dedent(
        """
        from entangle.process import process

        @process
        def inner():
            return 5

        @process
        """
    )
    file = folder / "alone.py"
    file.write_text(f"{head}{outer}\n\nprint(outer()())\n")
    return subprocess.run(
        [sys.executable, file],
        env={**os.environ, "ENTANGLE_WORKERS": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout


def test_a_call_that_its_executor_drops_has_failed():
    """An executor that is shut down cancels what waits; the run must not wait on."""
    executor = ThreadPoolExecutor(1)
    begun, go = Event(), Event()

    @task(executor=executor)
    def wait(number):
        begun.set()
        go.wait(10)
        return number

    future = wait.map(range(3)).submit()
    assert begun.wait(10)
    executor.shutdown(wait=False, cancel_futures=True)
    go.set()
    error = future.exception(10)
    assert isinstance(error, TaskError)
    assert "unasked" in str(error)


def test_a_coroutine_function_on_an_executor_is_run_to_its_end():
    with ThreadPoolExecutor(1) as executor:

        @task(executor=executor)
        async def same(value):
            return value

        assert same(3)() == 3


@process
def add(a, b):
    return a + b


def test_map_ends_with_the_shortest_even_if_others_are_endless():
    assert add.map(range(3), itertools.repeat(3))() == [3, 4, 5]
    assert add.map(itertools.count(), [1])() == [1]


def test_preloaded_modules_are_there_in_warm_workers_too():
    loaded = process(preload=["colorsys"])(lambda: "colorsys" in sys.modules)
    assert loaded()()


def test_a_value_may_be_called_with_any_keyword():
    @thread
    def function():
        return lambda value: value

    assert function()(value=3)() == 3


@process
def fail():
    raise ValueError("no")


def test_what_a_tolerant_gather_follows_has_to_end_well():
    node = gather(add(1, 2), return_exceptions=True)
    assert node.after(add(1, 1))() == [3]
    with pytest.raises(ValueError, match="no"):
        node.after(fail())()


def _meet(folder, number):
    """Wait until two calls are here, so that they run at once."""
    (folder / str(number)).touch()
    deadline = time.monotonic() + 20
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="takes two processors to be bound apart"
)
def test_calls_that_hold_processors_hold_different_ones(tmp_path):
    @local(cpus=1)
    @process
    def held(number):
        _meet(tmp_path, number)
        return os.sched_getaffinity(0), os.environ["OMP_NUM_THREADS"]

    (one, threads), (other, _) = gather(held(1), held(2))()
    assert len(one) == len(other) == 1
    assert one != other
    assert threads == "1"


def _spans(number):
    del number
    begun = time.monotonic()
    time.sleep(SPAN)
    return begun, time.monotonic()


def _apart(spans):
    (a, b), (c, d) = spans
    return b <= c or d <= a


def test_limits_and_schedulers_hold_inside_of_tasks_too():
    scheduled = scheduler(cpus=1)(process(_spans))
    limited = process(limit=1)(_spans)

    @process
    def nested():
        return (
            gather(scheduled(1), scheduled(2))(),
            gather(limited(1), limited(2))(),
        )

    by_scheduler, by_limit = nested()()
    assert _apart(by_scheduler)
    assert _apart(by_limit)


def test_a_file_named_like_a_module_of_python_hides_nothing(tmp_path):
    """Workers see the caller's path, not its working directory."""
    (tmp_path / "pickle.py").write_text("raise SystemExit('not the real one')")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    file = folder / "program.py"
    file.write_text(
        "from entangle.process import process\nprint(process(lambda: 5)()())\n"
    )
    done = subprocess.run(
        [sys.executable, file],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("5\n", 0), done.stderr
