"""The bound on the time that the inputs of a node take."""

import pytest
from engine_kit import Bench, is_timeout

from entangle._engine_items import ISSUED, WAITING
from entangle.errors import ProcessRetryException


def test_wait_counts_from_the_first_body_in_the_argument_graph():
    bench = Bench()
    leaf = bench.add("leaf")
    mid = bench.add("mid", leaf)
    other = bench.add("other")
    top = bench.add("top", mid, other, wait=5.0, root=True)
    bench.begin()
    assert leaf.wants_start
    assert not top.wants_start
    assert bench.alarms() == []
    bench.now += 9.0
    bench.start(leaf, at=bench.now - 1.0)
    assert bench.alarms() == [4.0]
    bench.start(other)
    assert bench.alarms() == []
    bench.succeed(leaf)
    assert not mid.wants_start  # it has begun counting
    bench.wake(4.0)
    error = bench.engine.error
    assert is_timeout(error, "wait", 5.0, "top")
    assert top.error is error


def test_what_still_runs_is_ended_when_the_inputs_take_too_long():
    bench = Bench()
    a, b = bench.add("a"), bench.add("b")
    bench.add("top", a, b, wait=5.0, root=True)
    bench.begin()
    bench.start(a, b)
    bench.wake(5.0)
    assert sorted(bench.cancels()) == [("a", 1), ("b", 1)]


def test_wait_ends_when_all_inputs_are_values():
    bench = Bench()
    a = bench.add("a")
    top = bench.add("top", a, wait=5.0, root=True)
    bench.begin()
    bench.start(a)
    bench.succeed(a)
    bench.wake(9.0)
    assert top.status == ISSUED


def test_wait_without_inputs_means_nothing():
    bench = Bench()
    top = bench.add("top", wait=5.0, root=True)
    bench.begin()
    bench.start(top)
    assert bench.alarms() == []


def test_wait_covers_the_expansion_of_inputs():
    bench = Bench()
    a = bench.add("a")
    bench.add("top", a, wait=5.0, root=True)
    bench.begin()
    bench.start(a)
    bench.wake(4.0)
    bench.expand(a, bench.add("part"))
    bench.wake(1.0)
    assert is_timeout(bench.engine.error, "wait", 5.0, "top")


def test_a_result_without_a_reported_start_counts_as_one():
    bench = Bench()
    leaf = bench.add("leaf")
    mid = bench.add("mid", leaf)
    bench.add("top", mid, wait=5.0, root=True)
    bench.begin()
    bench.succeed(leaf)
    assert bench.alarms() == [5.0]


def test_a_result_that_beats_a_deadline_counts_as_a_start():
    bench = Bench()
    leaf = bench.add("leaf", start=1.0)
    mid = bench.add("mid", leaf)
    bench.add("top", mid, wait=5.0, root=True)
    bench.begin()
    bench.starts()
    bench.wake(1.0)
    bench.alarms()
    bench.succeed(leaf)
    assert bench.alarms() == [5.0]


def test_wait_over_what_fails_to_start_counts_from_its_failure():
    bench = Bench()
    stuck, slow = bench.add("stuck", start=2.0), bench.add("slow")
    bench.add("all", stuck, slow, wait=5.0, assemble=True, tolerant=True, root=True)
    bench.begin()
    bench.wake(2.0)
    assert bench.alarms() == [5.0]


def test_nested_waits_are_each_armed_once():
    bench = Bench()
    leaf = bench.add("leaf")
    mid = bench.add("mid", leaf, wait=3.0)
    bench.add("top", mid, leaf, wait=5.0, root=True)
    bench.begin()
    bench.start(leaf)
    assert sorted(bench.alarms()) == [3.0, 5.0]
    bench.succeed(leaf)
    bench.start(mid)
    assert bench.alarms() == []


def test_a_shared_input_starts_the_wait_of_all_above():
    bench = Bench()
    leaf = bench.add("leaf")
    left = bench.add("left", leaf)
    right = bench.add("right", leaf)
    bench.add("top 1", left, wait=3.0, root=True)
    bench.add("top 2", right, left, wait=4.0, root=True)
    bench.begin()
    bench.start(leaf)
    assert sorted(bench.alarms()) == [3.0, 4.0]


def test_wait_of_assembled_items():
    bench = Bench()
    a, b = bench.add("a"), bench.add("b")
    gather = bench.add("all", a, b, assemble=True, wait=5.0)
    bench.add("top", gather, root=True)
    bench.begin()
    bench.start(a)
    bench.succeed(a)
    bench.succeed(b)
    assert bench.assembles() == ["all"]
    bench.wake(9.0)
    assert bench.engine.outcome is None


def test_a_wait_that_is_tried_again_counts_anew():
    bench = Bench()
    a = bench.add("a", timeout=60.0)
    top = bench.add("top", a, wait=5.0, retry=1, sleep=3.0, root=True)
    bench.begin()
    bench.start(a)
    bench.wake(5.0)
    assert bench.cancels() == []  # the arguments go on while an attempt is left
    assert top.status == WAITING
    assert bench.alarms() == [5.0]
    bench.wake(5.0)
    error = bench.engine.error
    assert is_timeout(error, "wait", 5.0, "top")
    assert isinstance(error.__cause__, ProcessRetryException)
    assert error.__cause__.attempts == 2


def test_a_missed_wait_uses_an_attempt_up():
    bench = Bench()
    a = bench.add("a")
    top = bench.add("top", a, wait=5.0, retry=1, root=True)
    bench.begin()
    bench.start(a)
    bench.wake(5.0)
    bench.succeed(a)
    assert bench.starts() == ["top"]
    assert top.attempt == 2
    error = bench.fail(top)
    assert bench.engine.error is error


def test_wait_over_what_already_runs_counts_from_now():
    bench = Bench()
    a = bench.add("a", tolerant_root=True)
    bench.begin(more=True)
    assert not a.wants_start
    bench.starts()
    bench.wake(30.0)
    bench.add("top", a, wait=5.0, tolerant_root=True)
    bench.settle()
    assert bench.alarms() == [5.0]


def test_wait_over_what_has_not_begun_does_not_count_yet():
    bench = Bench(workers=1)
    a = bench.add("a", root=True)
    b = bench.add("b", root=True)
    bench.begin(more=True)
    mid = bench.add("mid", b)
    bench.add("top", mid, wait=5.0, root=True)
    bench.settle()
    assert bench.alarms() == []
    bench.succeed(a)
    assert b.wants_start
    bench.start(b)
    assert bench.alarms() == [5.0]


def test_wait_over_what_was_watched_before():
    bench = Bench()
    a = bench.add("a")
    bench.add("first", a, wait=5.0, root=True)
    bench.begin(more=True)
    bench.start(a)
    assert bench.alarms() == [5.0]
    bench.wake(1.0)
    mid = bench.add("mid", a)
    bench.add("second", mid, wait=7.0, root=True)
    bench.settle()
    assert bench.alarms() == [7.0]


def test_wait_over_what_has_ended_counts_from_now():
    bench = Bench()
    a = bench.add("a", root=True)
    bench.begin(more=True)
    bench.succeed(a)
    other = bench.add("other")
    top = bench.add("top", a, other, wait=5.0, root=True)
    bench.settle()
    assert bench.alarms() == [5.0]
    bench.succeed(other)
    bench.wake(9.0)
    assert top.status == ISSUED


def test_wait_over_an_external_item_counts_from_the_beginning():
    bench = Bench()
    future = bench.add("future", external=True)
    bench.add("top", future, wait=5.0, root=True)
    bench.begin()
    assert bench.alarms() == [5.0]


def test_wait_over_what_is_being_assembled_counts_from_now():
    bench = Bench()
    leaf = bench.add("leaf")
    gather = bench.add("gather", leaf, assemble=True, root=True)
    bench.begin(more=True)
    bench.succeed(leaf)
    bench.add("top", gather, wait=5.0, root=True)
    bench.settle()
    assert bench.alarms() == [5.0]


@pytest.mark.parametrize("fails", [False, True])
def test_wait_over_what_needs_no_body_counts_from_its_value(fails):
    bench = Bench()
    empty = bench.add("empty", assemble=True)
    slow = bench.add("slow")
    bench.add("top", empty, slow, wait=5.0, root=True, tolerant=True)
    bench.begin()
    assert bench.alarms() == []
    bench.now += 1.0
    if fails:
        bench.engine.unassembled(empty, ValueError(), bench.now)
    else:
        bench.assemble(empty)
    assert bench.alarms() == [5.0]


def test_the_wait_of_a_doomed_item_means_nothing():
    bench = Bench()
    a, b = bench.add("a"), bench.add("b")
    top = bench.add("top", a, b, wait=5.0, tolerant_root=True)
    bench.add("other", root=True)
    bench.begin()
    bench.start(a)
    error = bench.fail(a)
    bench.wake(9.0)
    assert top.error is error
    assert bench.engine.outcome is None


def test_a_late_item_that_waits_for_a_failed_one_is_doomed():
    bench = Bench()
    bad = bench.add("bad", tolerant_root=True)
    bench.begin(more=True)
    error = bench.fail(bad)
    top = bench.add("top", bad, wait=5.0, tolerant_root=True)
    bench.settle()
    assert top.error is error
    bench.wake(9.0)
    assert top.error is error


def test_without_wait_nothing_is_watched():
    bench = Bench()
    a = bench.add("a")
    bench.add("b", a, root=True)
    bench.begin()
    assert not a.wants_start
    bench.start(a)
    assert a.flags == 0
    assert a.extra is None
