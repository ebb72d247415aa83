"""What a run does when something fails, or when it is cancelled."""

import pytest
from engine_kit import Bench

from entangle._engine import GRACE, HOW, failure_path
from entangle._engine_items import (
    ABANDONED,
    ASSEMBLING,
    CANCELLED,
    FAILED,
    ISSUED,
    SLEEPING,
)
from entangle.errors import ProcessTimeoutException

# ------------------------------------------------------------- first failure wins


def test_the_first_failure_fails_the_run():
    bench = Bench()
    a, b, c = bench.add("a"), bench.add("b"), bench.add("c")
    waiting = bench.add("d", c)
    top = bench.add("top", a, b, waiting, root=True)
    bench.begin()
    bench.start(a, b, c)
    error = bench.fail(a)
    engine = bench.engine
    assert engine.outcome == "failed"
    assert engine.error is error
    assert not engine.finished
    assert bench.deliveries() == [("top", error)]
    assert top.error is error
    assert sorted(bench.cancels()) == [("b", 1), ("c", 1)]
    assert waiting.status == CANCELLED
    other = bench.fail(b)
    assert other is not engine.error
    assert not engine.finished
    bench.end(c)
    assert engine.finished
    assert engine.error is error
    assert engine.how == "killed"


def test_nothing_is_issued_after_a_failure():
    bench = Bench(workers=2)
    items = [bench.add(n) for n in range(5)]
    bench.add("all", *items, root=True, assemble=True)
    bench.begin()
    assert bench.starts() == [0, 1]
    bench.fail(items[0])
    bench.succeed(items[1], 1)
    assert bench.starts() == []
    assert bench.assembles() == []
    assert items[1].status == CANCELLED
    assert items[1].value is None
    assert bench.engine.finished
    assert bench.engine.how == "already done"


def test_what_was_not_drained_is_withdrawn_when_the_run_fails():
    bench = Bench()
    a, b = bench.add("a"), bench.add("b")
    gather = bench.add("gather", assemble=True)
    bench.add("all", a, b, gather, root=True, assemble=True)
    bench.begin()
    bench.fail(a)
    assert bench.starts() == []
    assert bench.cancels() == []
    assert bench.assembles() == []
    assert (b.status, gather.status) == (CANCELLED, CANCELLED)
    assert bench.engine.finished


def test_inputs_that_only_a_failed_consumer_needed_are_ended_with_the_run():
    """The failed root does not lead to them any more."""
    bench = Bench()
    a, b = bench.add("a"), bench.add("b")
    bench.add("top", a, b, root=True)
    bench.begin()
    bench.start(a, b)
    bench.fail(a)
    assert bench.cancels() == [("b", 1)]
    assert not bench.engine.finished
    bench.end(b)
    assert bench.engine.finished


def test_all_that_was_delivered_by_then_stays_delivered():
    bench = Bench()
    a, b = bench.add("a", root=True), bench.add("b", root=True)
    bench.add("c", root=True)
    bench.begin()
    bench.succeed(a, 1)
    error = bench.fail(b)
    assert bench.deliveries() == [("a", 1), ("b", error)]
    assert bench.engine.finished


def test_the_failed_path_leads_to_the_culprit():
    bench = Bench()
    good, bad = bench.add("good"), bench.add("bad")
    mid = bench.add("mid", good, bad)
    top = bench.add("top", good, mid, root=True)
    bench.begin()
    bench.fail(bad)
    assert [item.node for item in failure_path(top)] == ["top", "mid", "bad"]


def test_a_tolerant_root_does_not_fail_the_run():
    bench = Bench()
    a, b = bench.add("a", tolerant_root=True), bench.add("b", tolerant_root=True)
    bench.begin()
    error = bench.fail(a)
    assert bench.deliveries() == [("a", error)]
    assert bench.engine.outcome is None
    bench.succeed(b, 2)
    assert bench.engine.outcome == "succeeded"
    assert bench.engine.error is None


def test_a_failure_reaches_roots_of_both_kinds():
    bench = Bench()
    a = bench.add("a")
    bench.add("b", a, tolerant_root=True)
    bench.add("c", a, root=True)
    bench.add("d", a, tolerant_root=True)
    bench.begin()
    error = bench.fail(a)
    assert bench.deliveries() == [("b", error), ("c", error), ("d", error)]
    assert bench.engine.outcome == "failed"


# ------------------------------------------------------------------ tolerant items


def test_failures_reach_a_tolerant_item_as_values():
    bench = Bench()
    a, b = bench.add("a"), bench.add("b")
    gather = bench.add("all", a, b, assemble=True, tolerant=True, root=True)
    bench.begin()
    error = bench.fail(a)
    assert bench.assembles() == []
    assert b.status == ISSUED
    bench.succeed(b, 2)
    assert bench.assembles() == ["all"]
    bench.assemble(gather)
    assert bench.deliveries() == [("all", [error, 2])]
    assert a.error is error
    assert b.error is None


def test_the_others_go_on_until_a_tolerant_item_has_all():
    bench = Bench()
    a, b = bench.add("a"), bench.add("b")
    gather = bench.add("all", a, b, assemble=True, tolerant=True, root=True)
    bench.begin()
    bench.succeed(a, 1)
    error = bench.fail(b)
    assert bench.assembles() == ["all"]
    bench.assemble(gather)
    assert bench.deliveries() == [("all", [1, error])]
    assert a.value is None


def test_one_doomed_branch_leaves_shared_inputs_alone():
    bench = Bench()
    shared, bad, own = bench.add("shared"), bench.add("bad"), bench.add("own")
    left = bench.add("left", shared, bad, own)
    right = bench.add("right", shared)
    bench.add("all", left, right, assemble=True, tolerant=True, root=True)
    bench.begin()
    bench.start(shared, bad, own)
    bench.fail(bad)
    assert left.status == FAILED
    assert bench.cancels() == [("own", 1)]
    assert shared.state == "running"
    bench.succeed(own, 1)  # comes too late: nobody needs it
    assert own.status == CANCELLED
    bench.end(own)
    assert own.status == CANCELLED
    assert bench.engine.how == "already done"


def test_what_is_doomed_after_it_was_needless_has_failed():
    """`top` needs nothing more when `leaf` fails, but `mid` cannot be either."""
    bench = Bench()
    leaf = bench.add("leaf")
    far = bench.add("far", leaf)
    mid = bench.add("mid", bench.add("nearer", far))
    bench.add("top", leaf, mid, tolerant_root=True)
    bench.add("other", root=True)
    bench.begin()
    error = bench.fail(leaf)
    assert mid.error is error
    assert bench.starts() == ["other"]


def test_needless_inputs_are_ended_in_every_status():
    bench = Bench(workers=3)
    bad = bench.add("bad")
    running = bench.add("running")
    sleeping = bench.add("sleeping", retry=1, sleep=5.0)
    expanding = bench.add("expanding")
    ready = bench.add("ready", start=1.0)
    waiting = bench.add("waiting", ready)
    assembling = bench.add("assembling", assemble=True)
    external = bench.add("external", external=True)
    branch = bench.add(
        "branch",
        *(bad, running, sleeping, expanding, waiting, assembling, external),
    )
    gather = bench.add("all", branch, assemble=True, tolerant=True, root=True)
    bench.begin()
    assert bench.starts() == ["bad", "running", "sleeping"]
    bench.fail(sleeping)
    assert sleeping.status == SLEEPING
    assert bench.starts() == ["expanding"]
    part = bench.add("part")
    bench.expand(expanding, part)
    assert bench.starts() == ["part"]
    assert (ready.state, assembling.status) == ("ready", ASSEMBLING)
    bench.fail(bad)
    assert sorted(bench.cancels()) == [("part", 1), ("running", 1)]
    for item in (sleeping, expanding, ready, waiting, assembling, external):
        assert item.status == CANCELLED, item
    assert bench.engine._active == 3  # two calls that are told to end, and "all"
    bench.wake(5.0)
    assert running.status == ABANDONED
    assert bench.starts() == []
    assert bench.assembles() == ["assembling", "all"]
    bench.assemble(assembling)
    assert assembling.status == CANCELLED
    bench.assemble(gather)
    assert bench.engine.finished
    assert bench.engine.how == "unconfirmed"


def test_a_freed_worker_serves_the_backlog():
    bench = Bench(workers=1)
    bad, slow = bench.add("bad"), bench.add("slow")
    branch = bench.add("branch", bad, slow)
    bench.add("other", tolerant_root=True)
    bench.add("all", branch, assemble=True, tolerant=True, root=True)
    bench.begin()
    bench.fail(bad)
    assert slow.status == CANCELLED
    assert bench.starts() == ["other"]


def test_a_run_waits_for_needless_calls_to_end():
    bench = Bench(timeout=1.5)
    bad, slow = bench.add("bad"), bench.add("slow")
    bench.add("branch", bad, slow, tolerant_root=True)
    bench.begin()
    bench.start(slow)
    bench.fail(bad)
    assert bench.engine.outcome == "succeeded"
    assert not bench.engine.finished
    bench.engine.cancel(bench.now)  # too late, as is the run's timeout
    bench.wake(1.5)
    assert bench.engine.outcome == "succeeded"
    bench.end(slow)
    assert bench.engine.finished


def test_a_link_to_what_has_failed_dooms():
    bench = Bench()
    bad = bench.add("bad", tolerant_root=True)
    good = bench.add("good", tolerant_root=True)
    bench.begin(more=True)
    error = bench.fail(bad)
    late = bench.add("late", good, bad, tolerant_root=True)
    later = bench.add("later", late, tolerant_root=True)
    patient = bench.add("patient", bad, assemble=True, tolerant=True, root=True)
    bench.settle()
    assert late.error is error
    assert later.error is error
    assert bench.starts() == ["good"]
    assert bench.assembles() == ["patient"]
    bench.assemble(patient)
    assert bench.deliveries() == [
        ("bad", error),
        ("late", error),
        ("later", error),
        ("patient", [error]),
    ]


def test_returning_what_has_failed_dooms():
    bench = Bench()
    bad = bench.add("bad", tolerant_root=True)
    a = bench.add("a", tolerant=True, root=True)
    bench.begin()
    error = bench.fail(bad)
    bench.expand(a, bad)
    assert a.error is error  # tolerance is for arguments


def test_a_failing_expansion_is_not_tried_again():
    bench = Bench()
    a = bench.add("a", root=True, retry=5)
    bench.begin()
    b = bench.add("b")
    bench.expand(a, b)
    error = bench.fail(b)
    assert bench.engine.error is error


def test_a_value_that_cannot_be_assembled_fails():
    bench = Bench()
    a = bench.add("a", assemble=True, root=True, retry=5)
    bench.begin()
    bench.fail(a)  # it has no call that could
    assert a.status == ASSEMBLING
    error = TypeError("unhashable")
    bench.engine.unassembled(a, error, bench.now)
    bench.engine.unassembled(a, ValueError(), bench.now)
    assert bench.engine.error is error
    assert bench.engine.finished


def test_a_late_failure_of_a_body_that_returned_nodes_is_ignored():
    bench = Bench()
    a = bench.add("a", root=True)
    bench.begin()
    bench.expand(a)
    bench.fail(a)
    assert a.status == ASSEMBLING


def test_settling_a_failed_root_ends_the_run_before_anything_starts():
    bench = Bench()
    bad = bench.add("bad", tolerant_root=True)
    bench.begin(more=True)
    error = bench.fail(bad)
    future = bench.add("future", external=True)
    a = bench.add("a", future)
    bench.engine.root(bad)
    bench.engine.root(a)
    lost = bench.add("lost")
    bench.settle()
    assert bench.starts() == []
    assert bench.engine.error is error
    assert bench.engine.finished
    assert {future.status, a.status, lost.status} == {CANCELLED}


# --------------------------------------------------------------------- cancellation


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("already done", CANCELLED),
        ("killed", CANCELLED),
        ("abandoned", ABANDONED),
        ("cannot kill", ABANDONED),
    ],
)
def test_a_cancelled_run_ends_when_its_calls_have(how, status):
    bench = Bench()
    a = bench.add("a", root=True)
    bench.begin()
    bench.start(a)
    bench.engine.cancel(bench.now)
    assert bench.cancels() == [("a", 1)]
    assert bench.engine.outcome == "cancelled"
    assert not bench.engine.finished
    bench.end(a, how)
    assert bench.engine.finished
    assert bench.engine.how == how
    assert bench.engine.error is None
    assert a.status == status
    assert bench.deliveries() == []


def test_the_worst_answer_counts():
    assert HOW == ("already done", "killed", "abandoned", "unconfirmed", "cannot kill")
    bench = Bench()
    items = [bench.add(n, root=True) for n in range(5)]
    bench.begin()
    bench.start(*items)
    bench.engine.cancel(bench.now)
    seen = []
    for item, how in zip(items, ["killed", "cannot kill", *HOW[:3]], strict=True):
        bench.end(item, how)
        seen.append(bench.engine.how)
    assert seen == ["killed"] + ["cannot kill"] * 4
    assert bench.engine.finished


def test_without_an_answer_the_run_ends_unconfirmed():
    bench = Bench()
    a, b = bench.add("a", root=True), bench.add("b", root=True)
    bench.begin()
    bench.start(a, b)
    bench.engine.cancel(bench.now)
    assert bench.alarms() == [GRACE]  # one for both
    bench.end(a, "killed")
    bench.wake(GRACE)
    assert bench.engine.finished
    assert bench.engine.how == "unconfirmed"
    assert (a.status, b.status) == (CANCELLED, ABANDONED)
    bench.end(b, "cannot kill")  # too late
    assert bench.engine.how == "unconfirmed"


def test_a_run_that_only_waits_or_sleeps_is_cancelled_at_once():
    bench = Bench()
    a = bench.add("a", retry=1, sleep=9.0)
    bench.add("b", a, root=True)
    bench.begin()
    bench.fail(a)
    bench.engine.cancel(bench.now)
    assert bench.engine.finished
    assert bench.engine.how == "already done"
    bench.wake(10.0)
    assert bench.starts() == []


def test_a_second_cancel_changes_nothing():
    bench = Bench()
    a = bench.add("a", root=True)
    bench.begin()
    bench.start(a)
    bench.engine.cancel(bench.now)
    bench.engine.cancel(bench.now)
    assert bench.cancels() == [("a", 1)]
    bench.end(a)
    bench.engine.cancel(bench.now)
    assert bench.engine.finished


def test_cancel_after_success_changes_nothing():
    bench = Bench()
    a = bench.add("a", root=True)
    bench.begin()
    bench.succeed(a, 1)
    bench.engine.cancel(bench.now)
    assert bench.engine.outcome == "succeeded"


def test_a_run_may_be_cancelled_before_it_begins():
    bench = Bench()
    a = bench.add("a")
    bench.add("b", a, root=True)
    bench.engine.cancel(bench.now)
    assert bench.engine.finished
    bench.begin()
    assert bench.starts() == []
    assert a.status == CANCELLED
    assert bench.engine.outcome == "cancelled"


def test_a_shared_input_is_told_to_end_once():
    bench = Bench()
    a = bench.add("a")
    for n in range(3):
        bench.add(n, a, root=True)
    bench.begin()
    bench.start(a)
    bench.engine.cancel(bench.now)
    assert bench.cancels() == [("a", 1)]


def test_a_deadline_that_nobody_needs_any_more_fails_nothing():
    """Its call was told to end; meanwhile its only consumer is doomed."""
    bench = Bench()
    bad = bench.add("bad")
    slow = bench.add("slow", timeout=1.0, retry=3)
    bench.add("branch", bad, slow, tolerant_root=True)
    bench.begin()
    bench.start(slow)
    bench.wake(1.0)
    assert bench.cancels() == [("slow", 1)]
    bench.fail(bad)
    bench.end(slow)
    assert slow.status == CANCELLED
    assert bench.starts() == []
    assert bench.engine.finished


def test_a_deadline_of_a_run_that_is_over_fails_nothing():
    bench = Bench()
    slow = bench.add("slow", timeout=1.0, retry=3, root=True)
    bench.begin()
    bench.start(slow)
    bench.wake(1.0)
    bench.engine.cancel(bench.now)
    bench.end(slow)
    assert slow.status == CANCELLED
    assert bench.engine.finished
    assert bench.engine.error is None


def test_what_is_told_to_end_for_nobody_is_spent():
    bench = Bench()
    bad, slow = bench.add("bad"), bench.add("slow")
    bench.add("branch", bad, slow, tolerant_root=True)
    bench.begin(more=True)
    bench.start(slow)
    bench.fail(bad)
    assert slow.state == "cancelling"
    assert slow.spent
    assert not bad.spent


def test_what_is_told_to_end_for_a_deadline_is_not_spent():
    bench = Bench()
    slow = bench.add("slow", timeout=1.0, tolerant_root=True)
    bench.begin(more=True)
    bench.start(slow)
    bench.wake(1.0)
    assert not slow.spent
    late = bench.add("late", slow, tolerant_root=True)
    bench.settle()
    bench.end(slow)
    assert isinstance(late.error, ProcessTimeoutException)
