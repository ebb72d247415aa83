"""Runs of flows: what comes out, in which order, and what happens when things fail."""

import asyncio
import logging
import threading
from concurrent.futures import CancelledError

import pytest

from entangle.dataflow import Flow, dataflow, process, thread
from entangle.errors import (
    CompositionError,
    EntangleError,
    FlowError,
    ProcessTimeoutException,
)
from entangle.process import process as pull
from entangle.task import gather, task
from entangle.workflow import workflow

PATIENCE = 60


@dataflow
def emit(value, **kwargs):
    return f"{value}{kwargs.get('suffix', '')}"


@dataflow
def upper(value):
    return value.upper()


@dataflow
def twice(value):
    return value + value


@dataflow
def join(*values):
    return "+".join(values)


@dataflow
def fail(value):
    raise ValueError(value)


def recorder():
    """A task that notes what it is called with, and the list of it."""
    calls = []

    @dataflow
    def record(value):
        calls.append(value)
        return value

    return record, calls


# ------------------------------------------------------------------------------ values


def test_a_single_task():
    assert emit()("a") == ("a",)


def test_leaves_in_the_order_written():
    flow = emit(upper(twice(emit())), twice(upper()), twice(), suffix="!")
    assert flow("a") == ("A!A!", "A!A!", "a!a!")
    assert flow("b") == ("B!B!", "B!B!", "b!b!")


def test_a_value_is_computed_once():
    record, calls = recorder()
    flow = record(twice(), upper(), upper(upper()))
    assert flow("a") == ("aa", "A", "A")
    assert calls == ["a"]


def test_fan_in_takes_values_in_the_order_written():
    both = join()
    assert emit(upper(both), twice(both), both)("a") == ("A+aa+a",)


def test_fan_in_is_computed_once_for_a_call():
    record, calls = recorder()
    both = dataflow(lambda *values: values)(record())
    assert emit(upper(both), twice(both))("a") == (("A", "aa"),)
    assert len(calls) == 1


def test_a_leaf_under_two_parents_comes_once_at_its_first_place():
    both = join()
    flow = emit(upper(both), twice(), twice(both))
    assert flow("a") == ("A+aa", "aa")


def test_constants():
    assert emit(emit(suffix="?"), suffix="!")("a") == ("a!?",)


def test_methods_get_their_instance():
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        @dataflow
        def times(self, value):
            return self.factor * value

    assert Scale(2).times(Scale(3).times())("a") == ("aaaaaa",)


def test_coroutines_share_a_loop():
    @dataflow
    async def loop(value):
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    first, second = emit(loop(), loop())("a")
    assert first is second


@pytest.mark.parametrize(
    "value", [None, ValueError("a value"), (1, 2), [], Flow], ids=repr
)
def test_any_value_goes_through(value):
    same = dataflow(lambda given: value)
    assert same(dataflow(lambda given: given)())(1) == (value,)


def test_a_flow_is_a_value_like_any_other():
    inner = upper()
    assert dataflow(lambda given: inner)()(1) == (inner,)


# ------------------------------------------------------------------- pull inside of push


@pull
def add(a, b):
    return a + b


@workflow
def total(value):
    return add(add(value, 1), 1)


def test_a_returned_node_is_resolved():
    flow = dataflow(lambda value: [total(value), value])(
        dataflow(lambda pair: sum(pair))()
    )
    assert flow(1) == (4,)


def test_a_returned_list_of_nodes_that_are_put_together():
    told = []

    @dataflow(callback=lambda _, value: told.append(value))
    def sums(value):
        return gather(add(value, 1), gather(add(value, 2)))

    after = dataflow(lambda value: value[1])
    assert sums(after())(1) == ([3],)
    assert dataflow(lambda value: value)(sums(), sums(after()))(1) == ([2, [3]], [3])
    assert told == [[2, [3]]] * 3


def test_a_node_run_inside():
    assert dataflow(lambda value: total(value)())()(1) == (3,)


def test_a_flow_called_inside_of_tasks():
    flow = emit(upper(), twice())

    @task
    def inside(given, value):
        return given(value)

    assert inside(flow, "a")() == ("A", "aa")
    assert dataflow(lambda value: flow(value))()("b") == (("B", "bb"),)


def test_the_same_function_pulled_and_pushed():
    pushed = dataflow(total.spec and add)
    assert add(1, b=2)() == 3
    assert pushed(b=2)(1) == (3,)


def test_a_submitted_flow_as_an_argument():
    future = emit(twice()).submit("a")
    assert add(future, ("b",))() == ("aa", "b")


# ----------------------------------------------------------------------------- choosing


def test_choosing():
    flow = emit(
        lambda value: upper() if value == "a" else None,
        twice(),
        lambda value: [twice(upper()), upper()],
    )
    assert flow("a") == ("A", "aa", "AA", "A")
    assert flow("b") == ("bb", "BB", "B")


def test_choosing_nested_and_from_prebuilt_flows():
    left, right = upper(), twice()
    flow = emit(
        twice(lambda value: emit(lambda inner: (right, left), suffix="-")),
        lambda value: left,
    )
    assert flow("a") == ("aa-aa-", "AA-", "A")
    assert flow("b") == ("bb-bb-", "BB-", "B")


def test_what_is_chosen_twice_is_computed_for_each_choice():
    record, calls = recorder()
    one = record()
    assert emit(lambda _: one, lambda _: [one, one])("a") == ("a", "a")
    assert calls == ["a", "a"]


def test_a_fan_in_below_a_choice_takes_what_was_chosen():
    both = join()
    left, right = upper(both), twice(both)
    assert emit(lambda value: left if value == "a" else right)("a") == ("A",)
    assert emit(lambda value: [left, right])("a") == ("A+aa",)
    assert emit(lambda value: [left, both])("a") == ("A+a",)
    assert emit(lambda value: [both, left])("a") == ("a+A",)


def test_loops_by_choice():
    @dataflow
    def more(value):
        return value + 1

    def again(value):
        return more(again) if value < 300 else more()

    assert more(again)(0) == (301,)


def test_choosing_in_a_coroutine():
    async def choose(value):
        await asyncio.sleep(0)
        return upper()

    assert emit(choose)("a") == ("A",)


def test_nothing_chosen_at_all():
    assert emit(lambda value: None)("a") == ()
    assert emit(lambda value: [])("a") == ()


@pytest.mark.parametrize(
    "nonsense", [1, "upper", upper, [upper], [None], add(1, 2), {1: 2}, ...], ids=repr
)
def test_a_choice_of_nonsense(nonsense):
    flow = emit(lambda value: nonsense, twice())
    with pytest.raises(FlowError) as caught:
        flow("a")
    (error,) = caught.value.exceptions
    assert isinstance(error, CompositionError)
    assert "must return a flow, a list of flows or None, not" in str(error)


def test_a_choice_that_raises():
    record, calls = recorder()

    def choose(value):
        raise KeyError(value)

    with pytest.raises(FlowError) as caught:
        emit(choose, record())("a")
    assert [repr(e) for e in caught.value.exceptions] == ["KeyError('a')"]
    assert calls == ["a"]


def test_a_chosen_flow_that_does_not_fit():
    with pytest.raises(FlowError) as caught:
        emit(lambda value: dataflow(lambda: 1)())("a")
    assert isinstance(caught.value.exceptions[0], TypeError)


# ---------------------------------------------------------------------- data readiness


def test_a_slow_sibling_delays_nobody():
    """The fast path is done, to its end, before the slow one goes on."""
    fast_is_done = threading.Event()

    @dataflow
    def slow(value):
        assert fast_is_done.wait(PATIENCE)
        return "slow"

    @dataflow
    def last(value):
        fast_is_done.set()
        return "fast"

    assert emit(slow(), upper(twice(last())))("a") == ("slow", "fast")


def test_siblings_run_at_the_same_time():
    barrier = threading.Barrier(4)
    meet = dataflow(lambda value: barrier.wait(PATIENCE))
    assert sorted(emit(meet(), meet(), emit(meet()), meet())("a")) == [0, 1, 2, 3]


def test_concurrent_calls_of_one_flow():
    barrier = threading.Barrier(3)

    @dataflow
    def meet(value):
        barrier.wait(PATIENCE)
        return value

    flow = meet(twice())
    futures = [flow.submit(value) for value in "abc"]
    assert [future.result() for future in futures] == [("aa",), ("bb",), ("cc",)]


def test_concurrent_calls_from_several_threads():
    flow = emit(upper(), lambda value: twice())
    results = {}

    def call(value):
        results[value] = flow(value)

    threads = [threading.Thread(target=call, args=(v,)) for v in "abcdef"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == {v: (v.upper(), v + v) for v in "abcdef"}


# ----------------------------------------------------------------------------- failures


def test_others_finish_then_all_failures_are_raised():
    record, calls = recorder()
    skipped, never = recorder()
    flow = emit(fail(skipped()), upper(record()), twice(fail()))
    with pytest.raises(FlowError) as caught:
        flow("a")
    error = caught.value
    assert isinstance(error, ExceptionGroup)
    assert isinstance(error, EntangleError)
    assert [repr(e) for e in error.exceptions] == [
        "ValueError('a')",
        "ValueError('aa')",
    ]
    assert (error.flow, error.input, error.index) == ("emit", "a", None)
    assert "2 functions have failed in the flow emit" in str(error)
    assert error.exceptions[0].__notes__[-1].startswith("in node fail (" + __file__)
    assert calls == ["A"]
    assert never == []


def test_a_join_is_skipped_if_a_parent_failed():
    record, calls = recorder()
    both = dataflow(lambda *values: values)(record())
    with pytest.raises(FlowError):
        emit(fail(both), upper(both))("a")
    assert calls == []


def test_a_join_fires_with_those_parents_that_ran():
    results = []
    both = dataflow(lambda *values: results.append(values))()
    with pytest.raises(FlowError):
        emit(fail(twice(both)), upper(both))("a")
    assert results == [("A",)]


def test_errors_split_by_type():
    flow = emit(fail(), dataflow(lambda value: {}[value])())
    caught = []
    try:
        flow("a")
    except* KeyError as group:
        caught.append(group)
    except* ValueError as group:
        caught.append(group)
    assert [type(group) for group in caught] == [FlowError, FlowError]
    assert [group.input for group in caught] == ["a", "a"]


def test_a_flow_error_travels():
    def inside(value):
        return emit(fail())(value)

    with pytest.raises(FlowError) as caught:
        pull(inside)("a")()
    assert [repr(e) for e in caught.value.exceptions] == ["ValueError('a')"]
    assert (caught.value.flow, caught.value.input) == ("emit", "a")


def test_exceptions_that_steer():
    def leave(value):
        raise SystemExit(3)

    with pytest.raises(FlowError) as caught:
        dataflow(leave)()("a")
    assert caught.value.exceptions[0].type_name == "SystemExit"


def test_a_base_exception_of_the_users():
    class Odd(BaseException):
        pass

    def odd(value):
        raise Odd

    with pytest.raises(BaseExceptionGroup) as caught:
        dataflow(odd)()("a")
    assert isinstance(caught.value.exceptions[0], Odd)


def test_a_returned_node_that_fails():
    broken = pull(lambda: 1 / 0)
    with pytest.raises(FlowError) as caught:
        emit(dataflow(lambda value: broken())(upper()), twice())("a")
    (error,) = caught.value.exceptions
    assert isinstance(error, ZeroDivisionError)


# ------------------------------------------------------------------------------ options


def test_retry():
    attempts = []

    @dataflow
    @thread(retry=2)
    def flaky(value):
        attempts.append(value)
        if len(attempts) < 3:
            raise OSError
        return value

    assert emit(flaky(twice()))("a") == ("aa",)
    assert attempts == ["a"] * 3


def most_at_once(flow, count):
    """Count how many of the calls that a flow makes of `Inside` are inside at once."""
    with Inside.lock:
        Inside.inside = Inside.most = 0
    flow("a")
    return Inside.most


class Inside:
    lock = threading.Lock()
    inside = most = 0

    @staticmethod
    def enter(value):
        with Inside.lock:
            Inside.inside += 1
            Inside.most = max(Inside.most, Inside.inside)
        threading.Event().wait(0.002)
        with Inside.lock:
            Inside.inside -= 1
        return value


def test_limit():
    one = dataflow(thread(limit=2)(Inside.enter))
    assert most_at_once(emit(*[one() for _ in range(12)]), 12) == 2


def test_maxworkers():
    inside = dataflow(Inside.enter)
    root = dataflow(maxworkers=3)(Inside.enter)
    assert most_at_once(root(*[inside(inside()) for _ in range(9)]), 18) <= 3
    lone = dataflow(maxworkers=1)(Inside.enter)
    assert most_at_once(lone(*[inside(inside()) for _ in range(4)]), 8) == 1


def test_maxworkers_counts_only_those_that_run_by_the_root():
    barrier = threading.Barrier(3)
    meet = thread(dataflow(lambda value: barrier.wait(PATIENCE)))
    root = dataflow(maxworkers=1)(lambda value: value)
    assert sorted(root(meet(), meet(), meet())(1)) == [0, 1, 2]


def test_maxworkers_with_failures_and_retries():
    attempts = []

    @task(retry=3)
    @dataflow
    def flaky(value):
        attempts.append(value)
        if len(attempts) <= 3:
            raise OSError
        return value

    root = dataflow(maxworkers=1)(lambda value: value)
    assert root(flaky(), flaky(), flaky())(1) == (1, 1, 1)


def test_wait_counts_from_the_first_parents_value():
    go = threading.Event()

    @dataflow
    def slow(value):
        assert go.wait(PATIENCE)

    both = thread(wait=0.05)(dataflow(lambda *values: values))()
    with pytest.raises(FlowError) as caught:
        emit(slow(both), upper(both))("a")
    go.set()
    (error,) = caught.value.exceptions
    assert isinstance(error, ProcessTimeoutException)
    assert error.phase == "wait"


# ---------------------------------------------------------------------------- callbacks


def test_callbacks_get_the_plain_function_and_its_value():
    seen = []
    ours = threading.current_thread()

    def told(function, value):
        seen.append((function.__name__, value, threading.current_thread()))

    @dataflow(callback=told)
    def first(value):
        return value + "1"

    @thread
    @dataflow(callback=told)
    def second(value):
        return value + "2"

    assert first(second(emit()), second())("a") == ("a12", "a12")
    assert [(name, value) for name, value, _ in seen] == [
        ("first", "a1"),
        ("second", "a12"),
        ("second", "a12"),
    ]
    threads = {thread for _, _, thread in seen}
    assert len(threads) == 1
    assert ours not in threads


def test_callbacks_have_returned_before_the_call_does():
    seen = []
    entered, go = threading.Event(), threading.Event()

    def slowly(function, value):
        entered.set()
        assert go.wait(PATIENCE)
        seen.append(value)

    flow = dataflow(callback=slowly)(lambda value: value)()
    future = flow.submit(1)
    assert entered.wait(PATIENCE)
    assert not future.done()
    go.set()
    assert future.result() == (1,)
    assert seen == [1]


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(2)], ids=repr)
def test_a_callback_that_raises_is_logged(caplog, error):
    def broken(function, value):
        raise error

    flow = dataflow(callback=broken)(lambda value: value)(upper())
    with caplog.at_level(logging.ERROR, "entangle"):
        assert flow("a") == ("A",)
    (record,) = caplog.records
    assert record.name.startswith("entangle")
    assert record.exc_info[1] is error


def test_a_callback_may_call_flows_and_nodes():
    seen = []
    inner = dataflow(callback=lambda f, v: seen.append(v))(lambda value: value + 1)()

    @dataflow
    def through_a_thread(value):
        return inner(value)

    def calls(function, value):
        seen.append(inner(value))
        seen.append(through_a_thread()(value))

    assert dataflow(callback=calls)(lambda value: value)()(1) == (1,)
    assert seen == [2, (2,), 2, ((2,),)]


def test_callbacks_of_what_fails_are_not_called():
    seen = []
    told = dataflow(callback=lambda f, v: seen.append(v))
    with pytest.raises(FlowError):
        emit(told(fail)(told(upper)()), told(twice)())("a")
    assert seen == ["aa"]


def test_a_callback_gets_the_value_of_returned_nodes():
    seen = []
    told = dataflow(callback=lambda f, v: seen.append(v))
    assert told(lambda value: [add(value, 1)])(told(lambda v: v[0])())(1) == (2,)
    assert seen == [[2], 2]


# --------------------------------------------------------------------------- asynchronous


def test_awaited():
    flow = emit(upper(), twice())

    async def main():
        return await asyncio.gather(*[flow.run_async(value) for value in "ab"])

    assert asyncio.run(main()) == [("A", "aa"), ("B", "bb")]


def test_a_cancelled_awaiter_cancels_the_run():
    entered, go = threading.Event(), threading.Event()
    record, calls = recorder()

    @dataflow
    def slow(value):
        entered.set()
        assert go.wait(PATIENCE)
        return value

    async def main():
        waiting = asyncio.create_task(slow(record()).run_async("a"))
        await asyncio.to_thread(entered.wait, PATIENCE)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    go.set()
    assert calls == []


def test_cancel():
    entered, go = threading.Event(), threading.Event()

    @dataflow
    def slow(value):
        entered.set()
        assert go.wait(PATIENCE)

    future = slow(upper()).submit("a")
    assert entered.wait(PATIENCE)
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result()
    assert future.cancelled_how() == "abandoned"
    go.set()


def test_cancel_while_a_callback_blocks():
    entered, go = threading.Event(), threading.Event()

    def blocks(function, value):
        entered.set()
        assert go.wait(PATIENCE)

    future = dataflow(callback=blocks)(lambda value: value)(upper()).submit("a")
    assert entered.wait(PATIENCE)
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result()
    go.set()
    assert emit()("a") == ("a",)


@pytest.mark.parametrize("make", [lambda: add(1, 2), lambda: emit().submit("a")])
def test_an_input_is_a_value(make):
    given = make()
    with pytest.raises(TypeError, match="which is no value yet"):
        emit()(given)
    with pytest.raises(TypeError, match="which is no value yet"):
        list(emit().stream([given]))
    if hasattr(type(given), "result"):
        given.result()


def test_one_argument():
    with pytest.raises(TypeError):
        emit()()
    with pytest.raises(TypeError):
        emit()(1, 2)


def test_processes():
    inside = process(dataflow(lambda value: (value, __import__("os").getpid())))
    flow = dataflow(executor="process")(lambda value: value)(inside(), inside())
    import os

    (a, one), (b, other) = flow([1, 2])
    assert a == b == [1, 2]
    assert os.getpid() not in {one, other}
