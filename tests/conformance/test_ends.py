"""How calls end before their time, everywhere, and what is then said of it."""

import concurrent.futures

import gates
import pytest

from entangle.errors import ProcessTimeoutException
from entangle.process import process
from entangle.task import as_completed, gather
from entangle.thread import thread


def waiting(place):
    """A task of a place that waits at a gate."""
    return place.task(gates.through_async if place.is_async else gates.through)


@pytest.fixture
def concurrent_place(place):
    if not place.concurrent:
        pytest.skip("a submitted run is over at once here")
    return place


def test_a_submitted_run_goes_on_by_itself(concurrent_place, gate):
    future = waiting(concurrent_place)(gate.path, 5).submit()
    gate.reached()
    assert not future.done()
    assert future.running()
    assert future.cancelled_how() is None
    gate.open()
    assert future.result() == 5
    assert future.cancelled_how() == "already done"


def test_cancelling_what_runs(concurrent_place, gate):
    future = waiting(concurrent_place)(gate.path).submit()
    gate.reached()
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    assert future.cancelled()
    assert future.done()
    how = "killed" if concurrent_place.kills else "abandoned"
    assert future.cancelled_how() == how
    gate.open()
    assert concurrent_place.task(int)("3")() == 3


def test_cancelling_what_has_not_begun(concurrent_place, gate):
    # One at a time: the second call is in the place's hands only in theory.
    task = concurrent_place.task(
        gates.through_async if concurrent_place.is_async else gates.through, limit=1
    )
    first = task(gate.path, 1).submit()
    gate.reached()
    second = task(gate.path, 2).submit()
    assert second.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        second.result()
    assert second.cancelled_how() == "already done"
    gate.open()
    assert first.result() == 1
    assert not first.cancel()
    assert not first.cancelled()


def test_waiters_are_woken(concurrent_place, gate):
    future = waiting(concurrent_place)(gate.path).submit()
    gate.reached()
    told = []
    future.add_done_callback(told.append)
    future.cancel()
    done, not_done = concurrent.futures.wait([future])
    assert (done, not_done) == ({future}, set())
    assert list(concurrent.futures.as_completed([future])) == [future]
    # Callbacks run where futures are settled, so what comes after is after them.
    assert thread(int)("1").submit().result() == 1
    assert told == [future]
    gate.open()


def test_the_first_failure_ends_the_others(concurrent_place, gate, tmp_path):
    fuse = gates.Gate(tmp_path, "fuse")

    def fail(path):
        gates.through(path)
        raise ValueError("first")

    future = gather(waiting(concurrent_place)(gate.path), thread(fail)(fuse.path))
    future = future.submit()
    gate.reached()
    fuse.reached()
    fuse.open()
    with pytest.raises(ValueError, match="first"):
        future.result()
    fuse.close()
    how = "killed" if concurrent_place.kills else "abandoned"
    assert future.cancelled_how() == how
    gate.open()


def test_a_run_that_takes_too_long(concurrent_place, gate):
    node = waiting(concurrent_place)(gate.path)
    with pytest.raises(ProcessTimeoutException) as caught:
        node.run(timeout=0.05)
    assert caught.value.phase == "run"
    assert caught.value.seconds == 0.05
    gate.open()


def test_a_body_that_takes_too_long(place, gate):
    if "timeout" not in place.options or place.inline:
        pytest.skip("refused, or relaxed: see the options")
    function = gates.through_async if place.is_async else gates.through
    task = place.task(function, timeout=0.2)
    with pytest.raises(ProcessTimeoutException) as caught:
        task(gate.path)()
    assert caught.value.phase == "body"
    assert caught.value.seconds == 0.2
    assert "through" in caught.value.node
    assert isinstance(caught.value, TimeoutError)
    assert task(gate.path).task.options.timeout == 0.2
    assert place.task(int)("4")() == 4


def test_a_timeout_is_worth_another_attempt(place, tmp_path):
    if "timeout" not in place.options or place.inline or place.is_async:
        pytest.skip("refused, relaxed, or the same")
    gate = gates.Gate(tmp_path, "twice")
    trail = tmp_path / "trail"

    def slow_once(path, trail):
        if trail.exists():
            return "second"
        trail.touch()
        return gates.through(path)

    task = place.task(slow_once, timeout=0.3, retry=1)
    assert task(gate.path, trail)() == "second"
    gate.close()


def test_arguments_that_take_too_long(concurrent_place, gate):
    slow = waiting(concurrent_place)(gate.path)

    def take(value):
        return value

    task = concurrent_place.task(take, wait=0.1)
    with pytest.raises(ProcessTimeoutException) as caught:
        task(slow)()
    assert caught.value.phase == "wait"
    gate.open()


def test_a_place_that_takes_too_long(gate):
    # Twice as many as fit, each of which would wait for ever.
    from entangle._pool import pool

    room = pool.get().capacity
    blocking = process(gates.through)(gate.path)
    late = process(start=0.1)(int)
    holders = [process(gates.through)(gate.path).submit() for _ in range(room)]
    gate.reached(room)
    with pytest.raises(ProcessTimeoutException) as caught:
        late("3")()
    assert caught.value.phase == "start"
    gate.open(room)
    assert [holder.result() for holder in holders] == [None] * room
    del blocking


def test_as_they_land(concurrent_place, gate):
    # The second is there before the first, which waits.
    slow = waiting(concurrent_place)(gate.path, "slow")
    quick = thread(str)("quick")
    landed = as_completed([slow, quick])
    assert next(landed)[1].result() == "quick"
    gate.open()
    node, future = next(landed)
    assert node is slow
    assert future.result() == "slow"
    assert list(landed) == []


def test_leaving_the_loop_ends_the_rest(concurrent_place, gate):
    landed = as_completed([waiting(concurrent_place)(gate.path), thread(int)("1")])
    for _, future in landed:
        assert future.result() == 1
        gate.reached()
        break
    landed.close()
    gate.open()
    assert concurrent_place.task(int)("3")() == 3
