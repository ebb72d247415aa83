"""The bounds on a body, a start and a whole run."""

import pytest
from engine_kit import Bench, is_timeout

from entangle._engine import GRACE
from entangle._engine_items import FAILED, ISSUED, RUNNING, SUCCEEDED

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


def test_a_late_answer_does_not_confirm_the_end_of_a_later_attempt():
    bench = Bench()
    a = bench.add("a", timeout=1.0, retry=1, root=True)
    bench.begin()
    bench.start(a)
    bench.wake(1.0)
    bench.wake(GRACE)
    bench.start(a)
    bench.wake(1.0)
    bench.engine.ended(a, 1, "killed", bench.now)
    assert a.state == "cancelling"


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
