"""Runs that are under way: futures, waits, contexts, and several at once."""

import asyncio
import concurrent.futures as cf
import contextvars
import threading

import pytest
from worker_kit import until

from entangle.errors import ProcessTimeoutException
from entangle.process import process
from entangle.run import RunFuture
from entangle.task import gather, shutdown
from entangle.thread import thread
from entangle.workflow import workflow


@thread
def number(value=1):
    return value


@thread
def fail(text="no"):
    raise ValueError(text)


@thread
def wait_for(event, value=None):
    assert event.wait(60)
    return value


@pytest.fixture
def event():
    made = threading.Event()
    yield made
    made.set()


def test_a_future_is_one_of_the_standard_library():
    future = number(3).submit()
    assert type(future) is RunFuture
    assert isinstance(future, cf.Future)
    assert future.result(60) == 3
    assert future.exception() is None
    assert future.done()
    assert not future.running()
    assert not future.cancel()
    assert not future.cancelled()
    assert future.cancelled_how() == "already done"


def test_a_future_that_fails():
    future = fail().submit()
    with pytest.raises(ValueError, match="no") as caught:
        future.result()
    assert caught.value.__notes__[-1].startswith("in node fail")
    assert future.exception() is caught.value


def test_a_future_with_options(event):
    future = wait_for(event).submit(timeout=0.05)
    with pytest.raises(ProcessTimeoutException) as caught:
        future.result()
    assert caught.value.phase == "run"
    with pytest.raises(ValueError, match="workers"):
        number().submit(workers=0)


def test_waiting_for_a_future_gives_up(event):
    future = wait_for(event).submit()
    with pytest.raises(TimeoutError):
        future.result(0.01)
    assert future.running()


def test_callbacks_are_called_once_each_and_may_fail(event):
    called = []
    future = wait_for(event, 1).submit()
    future.add_done_callback(called.append)

    def leave(_):
        raise SystemExit

    future.add_done_callback(leave)
    event.set()
    assert future.result() == 1
    # What comes later is not kept from coming.
    assert number(2).submit().result() == 2
    # Who waits for the value may be faster.
    until(lambda: called)
    assert called == [future]


def test_a_value_that_came_encoded():
    future = process(bytes)(100_000).submit()
    assert len(future.result()) == 100_000
    assert future.result() is future.result()


# -- futures as arguments --------------------------------------------------------


def test_a_future_is_an_argument_like_a_node(event):
    future = wait_for(event, 5).submit()
    sum_ = thread(lambda *values: values)(future, [future, number(1)], future)
    run = sum_.submit()
    event.set()
    assert run.result() == (5, [5, 1], 5)
    assert sum_() == (5, [5, 1], 5)


def test_a_future_that_failed_as_an_argument():
    future = fail("first").submit()
    with pytest.raises(ValueError, match="first"):
        number(future)()
    values = gather(future, number(2), return_exceptions=True)()
    assert (repr(values[0]), values[1]) == ("ValueError('first')", 2)


def test_a_cancelled_future_as_an_argument(event):
    future = wait_for(event).submit()
    user = number(future).submit()
    future.cancel()
    with pytest.raises(cf.CancelledError):
        user.result()
    assert "an argument of this run" in str(user.exception())


def test_cancelling_the_user_leaves_the_future_alone(event):
    future = wait_for(event, 1).submit()
    user = number(future).submit()
    user.cancel()
    with pytest.raises(cf.CancelledError):
        user.result()
    assert not future.done()
    event.set()
    assert future.result() == 1


def test_a_future_goes_to_processes_as_its_value():
    future = process(bytes)(50_000).submit()
    assert process(len)(future)() == 50_000
    assert number(1).after(future)() == 1


def test_a_returned_future_outlives_the_call_that_started_it(event):
    @thread
    def start():
        return [wait_for(event, "late").submit()]

    run = start()
    future = run.submit()
    event.set()
    assert future.result() == ["late"]


def test_runs_that_a_call_leaves_behind_are_ended(event):
    left = []

    @thread
    def start():
        left.append(wait_for(event).submit())

    assert start()() is None
    with pytest.raises(cf.CancelledError):
        left[0].result()


# -- asyncio ---------------------------------------------------------------------


def test_await():
    async def main():
        assert await number(2) == 2
        with pytest.raises(ValueError, match="no"):
            await fail()
        return await asyncio.gather(*(number(n) for n in range(5)))

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


def test_a_cancelled_awaiter_cancels_its_run(event):
    async def main():
        begun = threading.Event()

        @thread
        def body():
            begun.set()
            assert event.wait(60)

        @thread
        async def asynchronous():
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        ended = threading.Event()
        for task in (body, asynchronous):
            begun.clear()
            node = task()

            async def wait(node=node):
                await node

            waiting = asyncio.ensure_future(wait())
            while not begun.is_set():
                await asyncio.sleep(0.001)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        while not ended.is_set():
            await asyncio.sleep(0.001)

    asyncio.run(main())


def test_coroutines_of_a_run_share_one_loop():
    @thread
    async def loop():
        return asyncio.get_running_loop()

    @thread
    async def meet(barrier):
        barrier.append(1)
        while len(barrier) < 100:
            await asyncio.sleep(0.001)
        return len(barrier)

    loops = gather(*(loop() for _ in range(5)))()
    assert len(set(map(id, loops))) == 1
    assert set(meet.map([[]] * 0)()) == set()
    shared = []
    box = thread(lambda: shared)()
    assert set(gather(*(meet(box) for _ in range(100)))()) == {100}


def test_a_coroutine_that_was_cancelled_before_it_began():
    # The loop is held up, so that start and cancel reach it together.
    held, go = threading.Event(), threading.Event()

    @thread
    async def hold():
        held.set()
        go.wait(60)

    @thread
    async def never():
        raise AssertionError("it has begun")

    @thread
    def first():
        assert held.wait(60)
        return "first"

    @workflow
    def after(_):
        return [never(), fail_after(started)]

    @thread
    def fail_after(event):
        event.set()
        raise KeyError("second")

    started = threading.Event()
    future = gather(hold(), after(first())).submit()
    assert started.wait(60)
    run = future.run_of_future
    while run.outcome is None:
        pass
    go.set()
    with pytest.raises(KeyError):
        future.result()
    assert future.cancelled_how() in {"already done", "killed"}


def test_a_coroutine_may_refuse_to_be_cancelled():
    @thread(timeout=0.05)
    async def stubborn():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "anyway"

    with pytest.raises(ProcessTimeoutException):
        stubborn()()


def test_coroutines_in_processes():
    @process
    async def double(x):
        await asyncio.sleep(0)
        return 2 * x

    assert double(double(3))() == 12


# -- contexts and threads --------------------------------------------------------

variable = contextvars.ContextVar("variable", default="unset")


def test_context_variables_reach_threads_and_workflows():
    @thread
    def look():
        before = variable.get()
        variable.set("inner")
        return before

    @thread
    async def look_async():
        return variable.get()

    @workflow
    def flow():
        return [variable.get(), look()]

    token = variable.set("outer")
    node = gather(look(), look(), look_async(), flow())
    assert node() == ["outer", "outer", "outer", ["outer", "outer"]]
    assert variable.get() == "outer"
    variable.reset(token)
    assert node() == ["unset", "unset", "unset", ["unset", "unset"]]


def test_many_threads_run_graphs_at_once():
    results = []

    def work(n):
        results.append(gather(number(n), process(int)(n), number(number(n)))())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(results) == [[n] * 3 for n in range(8)]


def test_one_node_in_two_runs_at_once(event):
    node = wait_for(event, 3)
    runs = [node.submit(), node.submit(), number(node).submit()]
    event.set()
    assert [run.result() for run in runs] == [3, 3, 3]


def test_runs_inside_of_tasks():
    @thread
    def thread_inside(depth):
        return 1 + thread_inside(depth - 1)() if depth else 0

    @process
    def process_inside(depth):
        return 1 + process_inside(depth - 1)() if depth else 0

    @workflow
    def flow_inside(depth):
        return 1 + flow_inside(depth - 1)() if depth else 0

    assert thread_inside(40)() == 40
    assert flow_inside(5)() == 5
    assert process_inside(4)() == 4


def test_an_inner_run_ends_with_its_call(event):
    inner = []

    @thread
    def outer():
        inner.append(wait_for(event).submit())
        inner[0].result()

    future = outer().submit()
    while not inner:
        pass
    future.cancel()
    with pytest.raises(cf.CancelledError):
        future.result()
    with pytest.raises(cf.CancelledError):
        inner[0].result()


# -- the end ---------------------------------------------------------------------


def test_shutdown_cancels_runs_and_the_next_makes_a_new_pool(event):
    future = wait_for(event).submit()
    shutdown()
    assert future.cancelled()
    shutdown()
    assert gather(number(1), process(int)("2"))() == [1, 2]


def test_shutdown_without_a_pool():
    shutdown()
    shutdown()


def test_cancel_after_shutdown():
    future = number(1).submit()
    assert future.result() == 1
    shutdown()
    assert not future.cancel()
