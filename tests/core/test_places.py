"""What several calls, runs or processes have in common, and what not."""

import itertools
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event

import pytest
from worker_kit import until

from entangle._pool import pool
from entangle.errors import CompositionError, TaskError
from entangle.local import local
from entangle.process import process
from entangle.scheduler import scheduler
from entangle.task import as_completed, gather, task
from entangle.thread import thread
from entangle.workflow import workflow

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
    until(lambda: executor._work_queue.qsize() == 2)
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


def test_a_call_that_waits_for_its_own_task_does_not_count_for_its_limit():
    @thread(limit=1)
    def here(number):
        return number * here(number - 1)() if number else 1

    @process(limit=1)
    def apart(number):
        return number * apart(number - 1)() if number else 1

    @thread(limit=1)
    async def awaiting(number):
        return number * await awaiting(number - 1) if number else 1

    assert here(4)() == apart(4)() == awaiting(4)() == 24


def test_more_threads_may_wait_for_submitted_runs_than_there_are():
    @thread
    def one():
        return 1

    @thread
    def waits(number):
        del number
        return one().submit().result()

    assert waits.map(range(40))() == [1] * 40


def test_a_callback_of_a_future_may_wait_for_another():
    @thread
    def one():
        return 1

    landed = SimpleQueue()
    future = one().submit()
    future.add_done_callback(lambda _: landed.put(one().submit().result()))
    assert landed.get(timeout=10) == 1


def test_a_workflow_that_returns_its_own_node_is_an_error():
    @workflow
    def itself():
        return node

    node = itself()
    with pytest.raises(CompositionError):
        node()


def test_a_child_that_a_thread_forks_ends_with_the_body():
    @thread
    def fork():
        child = os.fork()
        if not child:
            return None
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert fork()() == 0


def test_an_object_that_changes_between_draws_is_sent_as_it_is_then():
    values = [0] * 100

    @process
    def first(given):
        return given[0]

    def nodes():
        for number in range(4):
            values[0] = number
            yield first(values)

    landed = as_completed(nodes(), ahead=1)
    assert sorted(future.result() for _, future in landed) == [0, 1, 2, 3]


def test_a_left_loop_may_be_collected_wherever_that_happens():
    """Closing it must not wait for what only the closing thread can do."""
    landing = as_completed(add(number, 1) for number in range(100))
    next(landing)

    pool.get().hub.run_inside(landing.close)
    assert add(1, 2)() == 3


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": "3"}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"workers": True}, TypeError),
        ({"workers": 0}, ValueError),
    ],
)
def test_options_of_a_run_are_checked(options, error):
    with pytest.raises(error, match=next(iter(options))):
        add(1, 2).run(**options)


def test_schedulers_and_processors_of_ones_own_exclude_each_other():
    with pytest.raises(CompositionError, match="which CPUs"):
        local(cpus=1)(scheduler(cpus=1)(process(_spans)))


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
