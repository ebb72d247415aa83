"""Streams: order, room, errors, sources of all kinds, early ends."""

import asyncio
import contextlib
import gc
import itertools
import os
import threading

import pytest
from life_kit import until

from entangle._pool import pool as pools
from entangle.dataflow import dataflow
from entangle.errors import FlowError, UnpicklableError
from entangle.process import process
from entangle.task import task
from entangle.thread import thread

PATIENCE = 60


@dataflow
def inc(value):
    return value + 1


@dataflow
def picky(value):
    if value % 5 == 3:
        raise ValueError(value)
    return value


def counted(drawn):
    """An endless source that notes how far it was drawn from."""
    for number in itertools.count():
        drawn.append(number)
        yield number


async def later(inputs, closed=None):
    try:
        for value in inputs:
            await asyncio.sleep(0)
            yield value
    finally:
        if closed is not None:
            closed.append(True)


def nothing_runs():
    pool = pools.existing()
    return pool is None or not pool.runs


def collect(stream):
    async def main():
        return [result async for result in stream]

    return asyncio.run(main())


def test_results_in_the_order_of_the_inputs():
    assert list(inc(inc()).stream(range(500))) == [(n + 2,) for n in range(500)]


def test_in_order_however_long_each_takes():
    gates = [threading.Event() for _ in range(8)]

    @dataflow
    def gated(number):
        assert gates[number].wait(PATIENCE)
        if number:
            gates[number - 1].set()
        return number

    gates[7].set()
    assert list(gated().stream(range(8), buffer=8)) == [(n,) for n in range(8)]


def test_unordered_as_they_land():
    last_is_taken = threading.Event()

    @dataflow
    def slow_first(number):
        if not number:
            assert last_is_taken.wait(PATIENCE)
        return number

    stream = slow_first().stream(range(4), ordered=False)
    first = {next(stream)[0] for _ in range(3)}
    assert first == {1, 2, 3}
    last_is_taken.set()
    assert list(stream) == [(0,)]


def test_every_stage_is_busy_with_another_input():
    """All three stages are inside at once, each with an input of its own."""
    barrier = threading.Barrier(3)

    @dataflow
    def stage(value):
        if value < 3:
            return value
        barrier.wait(PATIENCE)
        return value

    flow = stage(stage(stage()))
    assert list(flow.stream([5] * 9, buffer=3)) == [(5,)] * 9


def test_nothing_is_drawn_before_it_is_asked_for():
    drawn = []
    stream = inc().stream(counted(drawn))
    assert drawn == []
    stream.close()
    assert list(stream) == []


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("buffer", [1, 2, 7, 64])
def test_drawn_no_further_than_the_buffer(buffer, ordered):
    drawn = []
    with inc().stream(counted(drawn), buffer=buffer, ordered=ordered) as stream:
        for taken in range(100):
            next(stream)
            assert len(drawn) - taken <= buffer
    assert nothing_runs()


def test_what_waits_for_its_turn_counts():
    """One slow input holds all back that are behind it, and no more than fit."""
    go = threading.Event()
    drawn, done = [], []

    @dataflow
    def first_is_slow(number):
        if not number:
            assert go.wait(PATIENCE)
        done.append(number)
        return number

    stream = first_is_slow().stream(counted(drawn), buffer=5)
    taker = threading.Thread(target=lambda: next(stream))
    taker.start()
    until(lambda: len(done) == 4)
    assert len(drawn) == 5
    go.set()
    taker.join()
    stream.close()


def test_a_result_is_not_kept_waiting_by_a_source_that_has_enough_under_way():
    drawn = []
    stream = inc().stream(counted(drawn), buffer=1)
    for number in range(5):
        assert next(stream) == (number + 1,)
        assert len(drawn) == number + 1
    stream.close()


def test_feedback():
    """With room for one, an input may depend on the result before it."""
    results = [1]

    def source():
        while results[-1] < 100:
            yield results[-1]

    twice = dataflow(lambda value: 2 * value)
    for (result,) in twice().stream(source(), buffer=1):
        results.append(result)
    assert results == [1, 2, 4, 8, 16, 32, 64, 128]


def test_empty():
    assert list(inc().stream([])) == []
    assert collect(inc().stream(later([]))) == []


def test_a_stream_is_used_once():
    stream = inc().stream([1])
    assert list(stream) == [(2,)]
    assert list(stream) == []
    assert repr(stream) == "<stream through the flow inc (over)>"


def test_branches_and_choices():
    flow = inc(inc(), lambda value: inc(inc()) if value % 2 else None)
    assert list(flow.stream(range(3))) == [(2, 3), (3,), (4, 5)]


def test_callbacks_come_before_the_result():
    seen = []
    flow = dataflow(callback=lambda f, v: seen.append(v))(lambda v: v)()
    for (value,) in flow.stream(range(50)):
        assert value in seen


# ------------------------------------------------------------------------------- errors


def test_an_error_comes_in_its_turn_and_ends_the_stream():
    stream = picky(inc()).stream(itertools.count())
    assert [next(stream) for _ in range(3)] == [(1,), (2,), (3,)]
    with pytest.raises(FlowError) as caught:
        next(stream)
    error = caught.value
    assert (error.input, error.index, error.flow) == (3, 3, "picky")
    assert "for input 3" in str(error)
    assert error.__notes__ == ["the input was 3"]
    assert list(stream) == []
    assert nothing_runs()


@pytest.mark.parametrize("ordered", [True, False])
def test_errors_in_place(ordered):
    stream = picky(inc()).stream(range(10), errors="yield", ordered=ordered)
    results = list(stream)
    errors = [each for each in results if isinstance(each, FlowError)]
    assert sorted(each.index for each in errors) == [3, 8]
    assert all(each.input == each.index for each in errors)
    values = [each for each in results if not isinstance(each, FlowError)]
    expected = [(n + 1,) for n in range(10) if n % 5 != 3]
    assert (values if ordered else sorted(values)) == expected
    if ordered:
        assert results[3] is errors[0]


def test_a_failure_stays_with_its_input_and_branch():
    done = []
    note = dataflow(lambda value: done.append(value) or value)
    flow = inc(picky(note()), note())
    results = list(flow.stream(range(4), errors="yield"))
    assert sorted(done) == [1, 1, 2, 2, 3, 4, 4]
    assert [isinstance(each, FlowError) for each in results] == [0, 0, 1, 0]


def test_a_source_that_raises_half_way():
    def half():
        yield 1
        yield 2
        raise KeyError("half way")

    stream = inc().stream(half())
    assert [next(stream), next(stream)] == [(2,), (3,)]
    with pytest.raises(KeyError, match="half way"):
        next(stream)
    assert list(stream) == []
    assert nothing_runs()


def test_an_iterable_that_cannot_be_iterated_over():
    class Broken:
        def __iter__(self):
            raise OSError("no")

    stream = inc().stream(Broken())
    with pytest.raises(OSError, match="no"):
        next(stream)
    assert nothing_runs()


def test_an_interrupt_in_the_source():
    def source():
        yield 1
        raise KeyboardInterrupt

    stream = inc().stream(source())
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    assert nothing_runs()


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"buffer": 0}, ValueError, "at least 1"),
        ({"buffer": -1}, ValueError, "at least 1"),
        ({"buffer": 1.5}, TypeError, "whole number"),
        ({"buffer": True}, TypeError, "whole number"),
        ({"ordered": 1}, TypeError, "must be True or False"),
        ({"errors": "ignore"}, ValueError, "must be 'raise'"),
    ],
)
def test_arguments_that_make_no_sense(arguments, kind, text):
    with pytest.raises(kind, match=text):
        inc().stream([], **arguments)


@pytest.mark.parametrize("inputs", [5, None, inc, object()])
def test_what_is_no_iterable(inputs):
    with pytest.raises(TypeError, match="takes an iterable of inputs, not"):
        inc().stream(inputs)


def test_an_asynchronous_source_needs_a_coroutine():
    with pytest.raises(TypeError, match="use async for"):
        list(inc().stream(later([])))
    with pytest.raises(TypeError, match="use async for"):
        next(inc().stream(later([])))


class Unreadable:
    """What can be sent, and not be put together again by who called."""

    def __reduce__(self):
        return _readable_there, ()


CALLER = os.getpid()


def _readable_there():
    if os.getpid() == CALLER:
        raise ValueError("not here")
    return Unreadable()


def test_a_result_that_cannot_be_read_here():
    def odd(value):
        return Unreadable() if value == 1 else [object, value]

    flow = process(odd)
    stream = dataflow(flow)().stream(range(3), errors="yield")
    first, broken, last = stream
    assert (first, last) == (([object, 0],), ([object, 2],))
    assert isinstance(broken, FlowError)
    assert (broken.input, broken.index) == (1, 1)
    assert "not here" in str(broken.exceptions[0])


def test_a_huge_buffer():
    assert list(inc().stream(range(3), buffer=10**12)) == [(1,), (2,), (3,)]


# --------------------------------------------------------------------------- early ends


def test_leaving_the_loop():
    drawn, closed = [], []

    def source():
        try:
            yield from counted(drawn)
        finally:
            closed.append(True)

    for _ in inc().stream(source()):
        break
    assert closed
    assert nothing_runs()


def test_close_ends_what_runs():
    entered, go = threading.Event(), threading.Event()
    never = []

    @dataflow
    def slow(value):
        entered.set()
        assert go.wait(PATIENCE)

    stream = slow(dataflow(never.append)()).stream(range(5))
    begun = threading.Thread(target=_swallow, args=(stream,))
    begun.start()
    assert entered.wait(PATIENCE)
    stream.close()
    begun.join()
    go.set()
    assert nothing_runs()
    assert never == []


def _swallow(stream):
    with contextlib.suppress(BaseException):
        next(stream)


def test_collected_in_the_middle():
    stream = inc().stream(itertools.count())
    next(stream)
    del stream
    assert nothing_runs()


def test_collected_as_part_of_a_cycle():
    class Holder:
        pass

    holder = Holder()
    holder.me = holder
    holder.stream = inc().stream(itertools.count())
    next(holder.stream)
    del holder
    gc.collect()
    until(nothing_runs)


def test_a_stream_inside_of_a_task_ends_with_it():
    kept = []

    @thread
    def inside():
        stream = inc().stream(itertools.count())
        kept.append(stream)
        return next(stream)

    assert inside()() == (1,)
    until(nothing_runs)
    with pytest.raises(BaseException, match="cancelled"):
        for _ in kept.pop():
            pass


def test_the_values_of_past_inputs_are_let_go_of():
    class Value:
        alive = 0

        def __init__(self):
            Value.alive += 1

        def __del__(self):
            Value.alive -= 1

    make = dataflow(lambda number: Value())
    same = dataflow(lambda value: value)
    most = 0
    for result in make(same()).stream(range(300), buffer=4):
        most = max(most, Value.alive)
    del result
    assert most <= 10
    assert Value.alive == 0


def test_flows_that_are_chosen_anew_are_let_go_of():
    """An endless stream of flows that are built for one input each."""

    def choose(value):
        return dataflow(lambda v, *, data: v)(lambda v: inc(), data=[value] * 100)

    flow = inc(choose)
    stream = flow.stream(itertools.count(), buffer=4)
    for _ in range(100):
        next(stream)
    gc.collect()
    assert len(flow.program._chosen) <= 10
    stream.close()


# --------------------------------------------------------------------------- coroutines


def test_async_for():
    assert collect(inc().stream(range(100))) == [(n + 1,) for n in range(100)]
    assert collect(inc().stream(later(range(100)))) == [(n + 1,) for n in range(100)]


def test_an_asynchronous_source_is_drawn_from_no_further_than_the_buffer():
    async def main():
        drawn = []

        async def source():
            for number in counted(drawn):
                yield number

        stream = inc().stream(source(), buffer=4)
        for taken in range(30):
            await anext(stream)
            await asyncio.sleep(0)
            assert len(drawn) - taken - 1 <= 4
        await stream.aclose()

    asyncio.run(main())
    assert nothing_runs()


def test_an_asynchronous_source_may_wait_for_results():
    """It is drawn from meanwhile, so it may wait for what comes of it."""

    async def main():
        results = asyncio.Queue()

        async def source():
            value = 1
            while value < 100:
                yield value
                value = await results.get()

        twice = dataflow(lambda value: 2 * value)
        async for (result,) in twice().stream(source()):
            results.put_nowait(result)
        return result

    assert asyncio.run(main()) == 128


def test_leaving_an_asynchronous_loop():
    closed = []

    async def main():
        async for _ in inc().stream(later(itertools.count(), closed)):
            break
        while not closed:
            await asyncio.sleep(0)

    asyncio.run(main())
    until(nothing_runs)


def test_a_cancelled_taker_ends_the_stream():
    entered, go = threading.Event(), threading.Event()
    closed = []

    @dataflow
    def slow(value):
        entered.set()
        assert go.wait(PATIENCE)

    async def taker():
        async for _ in slow().stream(later(itertools.count(), closed)):
            pass

    async def main():
        taking = asyncio.create_task(taker())
        await asyncio.to_thread(entered.wait, PATIENCE)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking

    asyncio.run(main())
    assert closed
    assert nothing_runs()
    go.set()


def test_an_asynchronous_source_that_raises():
    async def half():
        yield 1
        raise KeyError("half way")

    async def main():
        stream = inc().stream(half())
        assert await anext(stream) == (2,)
        with pytest.raises(KeyError, match="half way"):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    asyncio.run(main())
    assert nothing_runs()


def test_errors_of_asynchronous_streams():
    async def main():
        stream = picky().stream(later(range(5)), errors="yield")
        kinds = [isinstance(each, FlowError) async for each in stream]
        assert kinds == [False, False, False, True, False]
        stream = picky().stream(later(range(5)))
        with pytest.raises(FlowError):
            async for _ in stream:
                pass

    asyncio.run(main())
    assert nothing_runs()


def test_streams_side_by_side():
    async def main():
        async def total(flow):
            return sum([value async for (value,) in flow.stream(later(range(50)))])

        return await asyncio.gather(*[total(inc()) for _ in range(4)])

    assert asyncio.run(main()) == [1275] * 4


def test_an_input_that_does_not_pickle_fails_alone():
    flow = dataflow(executor="process")(lambda value: value)()
    inputs = [1, threading.Lock(), [2]]
    first, broken, last = flow.stream(inputs, errors="yield")
    assert (first, last) == ((1,), ([2],))
    assert isinstance(broken.exceptions[0], UnpicklableError)
    assert broken.input is inputs[1]


def test_an_input_is_sent_as_it_was_when_it_was_drawn():
    def source():
        buffer = [0]
        for number in range(20):
            buffer[0] = number
            yield buffer

    # A list in a list is not sent plainly.
    flow = dataflow(executor="process")(lambda value: [value])(
        process(dataflow(lambda value: value[0]))()
    )
    wrapped = ([each] for each in source())
    assert [value for ((value,),) in _firsts(flow.stream(wrapped))] == list(range(20))


@pytest.mark.parametrize("inline", ["", "1"])
@pytest.mark.parametrize("count", [10, 1_000, 30_000, 100_000])
def test_arrays_of_any_size_are_sent_as_they_were(count, inline, monkeypatch):
    monkeypatch.setenv("ENTANGLE_INLINE", inline)
    import numpy as np

    def source():
        buffer = np.zeros(count)
        for number in range(20):
            buffer[:] = number
            yield buffer

    flow = process(dataflow(_mean))()
    assert [mean for (mean,) in flow.stream(source())] == list(range(20))


def _mean(array):
    array += 1  # as writable as it was
    return float(array.mean()) - 1


def _numbers(value):
    return list(value.values() if isinstance(value, dict) else value)


def test_small_inputs_are_sent_as_they_were_too():
    def source():
        pair, named = [0], {"n": 0}
        for number in range(20):
            pair[0] = named["n"] = number
            yield pair
            yield named

    flow = process(dataflow(_numbers))()
    numbers = [value for ((value,),) in flow.stream(source())]
    assert numbers == [number for number in range(20) for _ in range(2)]


def _firsts(results):
    for (value,) in results:
        yield value


def test_retries_and_limits_in_a_stream():
    attempts = []

    @task(retry=1, limit=1)
    @dataflow
    def flaky(value):
        attempts.append(value)
        if attempts.count(value) < 2:
            raise OSError
        return value

    assert list(flaky().stream(range(10))) == [(n,) for n in range(10)]
    assert sorted(attempts) == sorted([*range(10), *range(10)])


def test_maxworkers_in_a_stream():
    lock = threading.Lock()
    inside = most = 0

    def enter(value):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.001)
        with lock:
            inside -= 1
        return value

    stage = dataflow(enter)
    flow = dataflow(maxworkers=2)(enter)(stage(), stage())
    assert len(list(flow.stream(range(20)))) == 20
    assert most <= 2
