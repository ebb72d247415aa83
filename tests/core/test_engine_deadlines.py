"""The bounds on a body, a start, the inputs and a whole run."""

import pytest
from engine_kit import Bench

from entangle._engine import GRACE
from entangle._engine_items import FAILED, ISSUED, RUNNING, SUCCEEDED, WAITING
from entangle.errors import ProcessRetryException, ProcessTimeoutException


def is_timeout(error, phase, seconds, node):
    return isinstance(error, ProcessTimeoutException) and (
        error.phase,
        error.seconds,
        error.node,
    ) == (phase, seconds, node)


# ------------------------------------------------------------------ timeout: a body


def test_a_timeout_counts_from_the_start_of_the_body():
    bench = Bench()
    a = bench.add("a", timeout=2.0, root=True)
    bench.begin()
    assert a.wants_start
    assert bench.alarms() == []
    bench.now += 50.0
    bench.start(a, at=bench.now - 0.5)  # the report took half a second
    assert bench.alarms() == [1.5]


def test_a_body_that_overruns_fails_when_its_end_is_confirmed():
    bench = Bench(name=lambda node: f"<{node}>")
    a = bench.add("a", timeout=2.0, root=True)
    bench.begin()
    bench.start(a)
    bench.wake(2.0)
    assert bench.cancels() == [("a", 1)]
    assert bench.engine.outcome is None
    bench.end(a, "killed")
    assert bench.engine.outcome == "failed"
    assert is_timeout(bench.engine.error, "body", 2.0, "<a>")
    assert a.status == FAILED
    assert bench.engine.finished
    assert bench.engine.how == "killed"


def test_without_an_answer_an_overrun_body_is_given_up():
    bench = Bench()
    a = bench.add("a", timeout=2.0, root=True)
    bench.begin()
    bench.start(a)
    bench.wake(2.0)
    bench.wake(GRACE)
    assert is_timeout(bench.engine.error, "body", 2.0, "a")
    assert bench.engine.how == "unconfirmed"
    assert bench.engine.finished


def test_a_value_beats_a_deadline_that_is_not_confirmed():
    bench = Bench()
    a = bench.add("a", timeout=2.0, root=True)
    bench.begin()
    bench.start(a)
    bench.wake(2.0)
    bench.succeed(a, 1)
    assert bench.deliveries() == [("a", 1)]
    assert bench.engine.outcome == "succeeded"
    bench.end(a, "killed")
    bench.wake(GRACE)
    assert a.status == SUCCEEDED


def test_an_error_beats_a_deadline_that_is_not_confirmed():
    bench = Bench()
    a = bench.add("a", timeout=2.0, root=True)
    bench.begin()
    bench.start(a)
    bench.wake(2.0)
    error = bench.fail(a)
    assert bench.engine.error is error


def test_returned_nodes_beat_a_deadline_that_is_not_confirmed():
    bench = Bench()
    a = bench.add("a", timeout=2.0, root=True)
    bench.begin()
    bench.start(a)
    bench.wake(2.0)
    b = bench.add("b")
    bench.expand(a, b)
    assert bench.starts() == ["b"]
    bench.wake(10.0)  # the timeout does not cover the expansion
    assert bench.engine.outcome is None


def test_a_result_in_time_disarms_the_deadline():
    bench = Bench()
    a = bench.add("a", timeout=2.0)
    bench.add("b", a, root=True)
    bench.begin()
    bench.start(a)
    bench.succeed(a, 1)
    bench.wake(5.0)
    assert bench.cancels() == []
    assert a.status == SUCCEEDED


def test_each_attempt_has_its_own_timeout():
    bench = Bench()
    a = bench.add("a", timeout=2.0, retry=1, root=True)
    bench.begin()
    bench.start(a)
    bench.wake(1.0)
    bench.fail(a)
    assert bench.starts() == ["a"]
    bench.start(a)
    bench.wake(1.5)  # the first attempt's alarm means nothing
    assert a.status == RUNNING
    bench.wake(0.5)
    assert bench.cancels() == [("a", 2)]
    bench.end(a)
    error = bench.engine.error
    assert is_timeout(error, "body", 2.0, "a")
    assert [type(e) for e in error.__cause__.errors] == [ValueError, type(error)]


def test_a_timeout_is_retried_after_the_end_is_confirmed():
    bench = Bench(workers=1)
    a = bench.add("a", timeout=2.0, retry=1, sleep=1.0, root=True)
    bench.add("b", root=True)
    bench.begin()
    assert bench.starts() == ["a"]
    bench.start(a)
    bench.wake(2.0)
    assert bench.starts() == []  # it still holds its worker
    bench.end(a, "abandoned")
    assert bench.starts() == ["b"]
    assert bench.engine.how == "abandoned"
    assert bench.engine.outcome is None
    bench.engine.ended(a, 1, "killed", bench.now)
    assert a.state == "sleeping"


def test_a_late_answer_of_an_earlier_attempt_is_ignored():
    bench = Bench()
    a = bench.add("a", timeout=2.0, retry=1, root=True)
    bench.begin()
    bench.start(a)
    bench.wake(2.0)
    bench.wake(GRACE)  # given up: tried again
    assert (a.status, a.attempt) == (ISSUED, 2)
    bench.engine.ended(a, 1, "killed", bench.now)
    bench.engine.succeeded(a, 1, "old", bench.now)
    assert a.status == ISSUED
    bench.start(a)
    bench.wake(2.0)
    assert bench.cancels() == [("a", 1), ("a", 2)]


def test_the_grace_alarm_of_an_earlier_attempt_is_ignored():
    bench = Bench()
    a = bench.add("a", timeout=1.0, retry=1, root=True)
    bench.begin()
    bench.start(a)
    bench.wake(1.0)
    bench.end(a)
    bench.start(a)
    bench.wake(1.0)  # the second attempt is told to end, too
    bench.wake(1.0)  # the first one's grace is over
    assert a.state == "cancelling"


# ------------------------------------------------------------- start: until the body


def test_start_counts_from_issue_to_the_body():
    bench = Bench()
    a = bench.add("a", start=3.0, root=True)
    bench.begin()
    assert bench.alarms() == [3.0]
    assert bench.starts() == ["a"]
    bench.wake(3.0)
    assert bench.cancels() == [("a", 1)]
    bench.start(a)  # too late
    bench.end(a, "already done")
    assert is_timeout(bench.engine.error, "start", 3.0, "a")
    assert bench.engine.how == "already done"


def test_a_start_in_time_disarms_the_deadline():
    bench = Bench()
    a = bench.add("a", start=3.0, timeout=10.0, root=True)
    bench.begin()
    bench.wake(2.0)
    bench.start(a)
    assert bench.alarms() == [10.0]
    bench.wake(3.0)
    assert a.status == RUNNING


def test_a_start_that_was_not_drained_is_withdrawn():
    bench = Bench()
    a = bench.add("a", start=3.0, retry=1, root=True)
    bench.begin()
    bench.wake(3.0)
    assert bench.cancels() == []
    assert bench.starts() == ["a"]
    assert a.attempt == 2
    bench.wake(3.0)
    assert bench.cancels() == [("a", 2)]


def test_an_undrained_start_does_not_stop_another_from_being_cancelled():
    bench = Bench()
    bench.add("a", start=3.0, root=True)
    bench.add("b", root=True)
    bench.begin()
    bench.engine.starts.popleft()
    bench.wake(3.0)
    assert bench.cancels() == [("a", 1)]


def test_needless_starts_that_were_not_drained_are_withdrawn():
    bench = Bench()
    bad, idle = bench.add("bad"), bench.add("idle")
    bench.add("branch", bad, idle, tolerant_root=True)
    bench.add("other", root=True)
    bench.begin()
    bench.fail(bad)
    assert bench.starts() == ["other"]
    assert bench.cancels() == []
    assert idle.state == "cancelled"


def test_start_counts_from_the_issue_of_each_attempt():
    bench = Bench(workers=1)
    a = bench.add("a", root=True)
    bench.add("b", start=3.0, root=True)
    bench.begin()
    bench.wake(10.0)
    assert bench.alarms() == []  # b is not issued, for want of a worker
    bench.succeed(a)
    assert bench.alarms() == [3.0]


# ------------------------------------------------------------------- wait: the inputs


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


# --------------------------------------------------------------------------- the run


def test_a_run_has_a_deadline():
    bench = Bench(timeout=7.0, name=lambda node: f"<{node}>")
    a = bench.add("a")
    bench.add("b", a, root=True)
    bench.begin()
    assert bench.alarms() == [7.0]
    bench.start(a)
    bench.wake(7.0)
    assert bench.engine.outcome == "failed"
    assert is_timeout(bench.engine.error, "run", 7.0, "<b>")
    assert bench.cancels() == [("a", 1)]
    assert not bench.engine.finished
    bench.succeed(a, 1)
    assert bench.engine.finished
    assert bench.engine.outcome == "failed"  # a run's end is final


def test_the_deadline_of_a_run_that_waits_for_roots():
    bench = Bench(timeout=7.0)
    bench.begin(more=True)
    bench.wake(7.0)
    assert is_timeout(bench.engine.error, "run", 7.0, "")
    assert bench.engine.finished


def test_a_run_that_is_over_has_no_deadline():
    bench = Bench(timeout=7.0)
    a = bench.add("a", root=True)
    bench.begin()
    bench.succeed(a, 1)
    bench.wake(7.0)
    assert bench.engine.outcome == "succeeded"


@pytest.mark.parametrize("phase", ["start", "timeout"])
def test_deadlines_of_what_was_not_needed_mean_nothing(phase):
    bench = Bench()
    bad = bench.add("bad")
    slow = bench.add("slow", **{phase: 1.0})
    bench.add("branch", bad, slow, tolerant_root=True)
    bench.add("other", root=True)
    bench.begin()
    bench.starts()
    if phase == "timeout":
        bench.start(slow)
    bench.fail(bad)
    assert bench.cancels() == [("slow", 1)]
    bench.wake(1.0)
    assert bench.cancels() == []
    assert slow.state == "cancelling"
