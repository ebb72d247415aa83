"""What a run does when nothing fails: order, values, roots."""

import pytest
from engine_kit import Bench

from entangle._engine import Engine
from entangle._engine_items import (
    CANCELLED,
    SUCCEEDED,
)
from entangle.errors import InternalError


def test_a_node_starts_when_all_its_inputs_are_values():
    bench = Bench()
    a, b = bench.add("a"), bench.add("b")
    c = bench.add("c", a, b, root=True)
    bench.begin()
    assert bench.starts() == ["a", "b"]
    bench.succeed(a, 1)
    assert bench.starts() == []
    bench.succeed(b, 2)
    assert bench.starts() == ["c"]
    assert [p.value for p in c.inputs] == [1, 2]
    bench.succeed(c, 3)
    assert bench.deliveries() == [("c", 3)]
    assert bench.engine.finished
    assert bench.engine.outcome == "succeeded"
    assert bench.engine.error is None
    assert bench.engine.how == "already done"


def test_several_values_at_once():
    bench = Bench()
    a, b = bench.add("a"), bench.add("b", timeout=5)
    c, d = bench.add("c", a, b, root=True), bench.add("d", root=True)
    bench.begin()
    assert bench.starts() == ["a", "b", "d"]
    bench.start(b)
    now = bench.now
    over = [(d, 2, "of an attempt that never was"), (b, 1, "too late")]
    bench.engine.all_succeeded([(a, 1, 1), (b, 1, 2), *over, (d, 1, 4)], now)
    assert [item.value for item in (a, b, d)] == [1, 2, 4]
    assert bench.starts() == ["c"]
    assert bench.deliveries() == [("d", 4)]
    bench.succeed(c, 3)
    assert bench.engine.finished


def test_nothing_happens_before_begin():
    bench = Bench()
    bench.add("a", root=True)
    bench.settle()
    assert bench.starts() == []
    bench.begin()
    assert bench.starts() == ["a"]


def test_a_shared_node_runs_once():
    bench = Bench()
    a = bench.add("a")
    b, c = bench.add("b", a), bench.add("c", a)
    d = bench.add("d", b, c, root=True)
    bench.begin()
    assert bench.starts() == ["a"]
    bench.succeed(a, 1)
    assert bench.starts() == ["b", "c"]
    bench.succeed(b, 2)
    bench.succeed(c, 3)
    assert bench.starts() == ["d"]
    assert d.state == "issued"


def test_a_value_is_dropped_with_its_last_consumer():
    bench = Bench()
    a = bench.add("a")
    b, c = bench.add("b", a), bench.add("c", a)
    bench.add("d", b, c, root=True)
    bench.begin()
    bench.succeed(a, "big")
    bench.succeed(b, 1)
    assert a.value == "big"
    assert not a.spent
    bench.succeed(c, 2)
    assert a.value is None
    assert a.spent


def test_the_value_of_a_root_is_kept_until_it_is_collected():
    bench = Bench()
    a = bench.add("a", root=True)
    b = bench.add("b", a, root=True)
    bench.begin()
    bench.succeed(a, 1)
    assert bench.deliveries() == [("a", 1)]
    bench.engine.collected(a)
    assert a.value == 1  # b still takes it
    bench.succeed(b, 2)
    assert a.value is None
    assert b.value == 2
    bench.engine.collected(b)
    assert b.value is None


def test_a_pinned_value_is_kept():
    bench = Bench()
    a = bench.add("a")
    b = bench.add("b", a, root=True)
    bench.engine.pin(a)
    bench.begin(more=True)
    bench.succeed(a, 1)
    bench.succeed(b, 2)
    assert a.value == 1
    assert not a.spent
    c = bench.add("c", a, root=True)
    bench.settle()
    assert bench.starts() == ["c"]
    bench.engine.unpin(a)
    assert a.value == 1
    bench.succeed(c, 3)
    assert a.value is None
    assert a.spent


def test_a_pinned_value_is_dropped_when_it_is_let_go():
    bench = Bench()
    a = bench.add("a", root=True)
    bench.engine.pin(a)
    bench.begin(more=True)
    bench.engine.unpin(a)
    bench.engine.pin(a)
    bench.succeed(a, 1)
    bench.engine.collected(a)
    assert a.value == 1
    bench.engine.unpin(a)
    assert a.value is None
    assert a.spent


def test_what_is_pinned_is_not_needed_for_that():
    bench = Bench()
    a = bench.add("a")
    bench.engine.pin(a)
    bench.begin(more=True)
    assert a.status == CANCELLED
    assert a.spent


def test_a_run_of_nothing_is_over_at_once():
    bench = Bench()
    bench.begin()
    assert bench.engine.finished
    assert bench.engine.outcome == "succeeded"


def test_what_nobody_needs_is_never_started():
    bench = Bench()
    a = bench.add("a")
    b = bench.add("b", a)
    bench.add("c", root=True)
    bench.begin()
    assert bench.starts() == ["c"]
    assert (a.status, b.status) == (CANCELLED, CANCELLED)


def test_many_inputs_keep_their_order():
    bench = Bench()
    inputs = [bench.add(n) for n in range(7)]
    gather = bench.add("all", *inputs, assemble=True, root=True)
    bench.begin()
    for item in reversed(inputs):
        bench.succeed(item, item.node * 10)
    assert bench.assembles() == ["all"]
    assert list(gather.inputs) == inputs
    bench.assemble(gather)
    assert bench.deliveries() == [("all", [0, 10, 20, 30, 40, 50, 60])]


def test_an_item_says_what_it_is():
    bench = Bench()
    a = bench.add("a", root=True)
    assert repr(a) == "<Item waiting, attempt 0, 0 inputs>"
    bench.begin()
    assert repr(a) == "<Item issued, attempt 1, 0 inputs>"
    assert a.error is None


# ------------------------------------------------------------------------ workers


def test_at_most_so_many_calls_as_workers():
    bench = Bench(workers=2)
    items = [bench.add(n, root=True) for n in range(4)]
    bench.begin()
    assert bench.starts() == [0, 1]
    assert items[2].state == "ready"
    bench.succeed(items[1])
    assert bench.starts() == [2]
    bench.fail(items[0])
    assert bench.starts() == []


def test_a_run_needs_a_worker():
    with pytest.raises(ValueError, match="workers=0"):
        Engine(workers=0)


def test_depth_goes_before_breadth():
    bench = Bench(workers=1)
    leaves = [bench.add(f"leaf {n}") for n in range(3)]
    for leaf in leaves:
        bench.add(f"{leaf.node} up", leaf, root=True)
    bench.begin()
    assert bench.starts() == ["leaf 0"]
    bench.succeed(leaves[0])
    assert bench.starts() == ["leaf 0 up"]


def test_depth_goes_before_breadth_among_undrained_starts():
    bench = Bench()
    leaves = [bench.add(f"leaf {n}") for n in range(3)]
    ups = [bench.add(f"up {n}", leaves[0], root=True) for n in range(2)]
    bench.add("up 2", leaves[1], leaves[2], root=True)
    bench.begin()
    bench.engine.starts.popleft()
    bench.succeed(leaves[0])
    assert bench.starts() == ["up 0", "up 1", "leaf 1", "leaf 2"]
    assert ups[0].attempt == 1


def test_assembling_takes_no_worker():
    bench = Bench(workers=1)
    gather = bench.add("all", assemble=True, timeout=1.0, root=True)
    bench.add("a", root=True)
    bench.begin()
    assert bench.assembles() == ["all"]
    assert bench.starts() == ["a"]
    assert not gather.wants_start
    assert bench.alarms() == []


# ---------------------------------------------------------------------- externals


def test_an_external_item_is_never_issued():
    bench = Bench(workers=1)
    future = bench.add("future", external=True, timeout=1.0)
    bench.add("a", root=True)
    b = bench.add("b", future, root=True)
    bench.begin()
    assert bench.starts() == ["a"]
    assert bench.alarms() == []
    assert not future.wants_start
    bench.succeed(future, 5)
    assert future.status == SUCCEEDED
    assert b.state == "ready"  # a holds the only worker


def test_an_external_item_fails_without_retry():
    bench = Bench()
    future = bench.add("future", external=True, retry=3)
    bench.add("b", future, root=True)
    bench.begin()
    error = bench.fail(future)
    assert bench.engine.error is error
    assert bench.engine.finished


def test_an_external_item_is_not_cancelled_with_the_run():
    bench = Bench()
    future = bench.add("future", external=True)
    bench.add("b", future, root=True)
    bench.begin()
    bench.engine.cancel(bench.now)
    assert bench.cancels() == []
    assert bench.engine.finished
    bench.succeed(future, 1)
    assert future.status == CANCELLED


# ------------------------------------------------------------------- dynamic roots


def test_roots_may_be_added_while_the_run_goes_on():
    bench = Bench()
    a = bench.add("a", tolerant_root=True)
    bench.begin(more=True)
    bench.succeed(a, 1)
    assert bench.deliveries() == [("a", 1)]
    assert bench.engine.outcome is None
    assert not bench.engine.finished
    b = bench.add("b", tolerant_root=True)
    bench.settle()
    assert bench.starts() == ["b"]
    bench.engine.close(bench.now)
    assert bench.engine.outcome is None
    bench.succeed(b, 2)
    assert bench.deliveries() == [("b", 2)]
    assert bench.engine.finished


def test_an_idle_run_is_over_when_closed():
    bench = Bench()
    bench.begin(more=True)
    assert not bench.engine.finished
    bench.engine.close(bench.now)
    assert bench.engine.finished
    assert bench.engine.outcome == "succeeded"


def test_closing_before_begin_is_no_end():
    bench = Bench()
    a = bench.add("a", root=True)
    bench.engine.close(bench.now)
    assert bench.engine.outcome is None
    bench.begin(more=True)
    bench.succeed(a)
    assert bench.engine.finished


def test_what_has_ended_may_become_a_root():
    bench = Bench()
    a = bench.add("a", tolerant_root=True)
    bench.begin(more=True)
    bench.succeed(a, 1)
    bench.deliveries()
    bench.engine.root(a, tolerant=True)
    assert bench.deliveries() == []
    bench.settle()
    assert bench.deliveries() == [("a", 1)]
    bench.engine.collected(a)
    assert a.value == 1
    bench.engine.collected(a)
    assert a.value is None


def test_what_has_failed_may_become_a_root():
    bench = Bench()
    a = bench.add("a", tolerant_root=True)
    bench.begin(more=True)
    error = bench.fail(a)
    assert bench.deliveries() == [("a", error)]
    bench.engine.collected(a)
    assert not a.spent
    bench.engine.root(a, tolerant=True)
    bench.settle()
    assert bench.deliveries() == [("a", error)]
    bench.engine.root(a)
    bench.settle()
    assert bench.engine.outcome == "failed"
    assert bench.engine.error is error


def test_a_root_asked_for_twice_is_delivered_once():
    bench = Bench()
    a = bench.add("a", tolerant_root=True)
    bench.engine.root(a, tolerant=True)
    b = bench.add("b", tolerant_root=True)
    bench.engine.root(b)
    bench.begin()
    error = bench.fail(a)
    assert bench.deliveries() == [("a", error)]
    assert bench.engine.outcome is None
    error = bench.fail(b)  # once asked for without tolerance
    assert bench.deliveries() == [("b", error)]
    assert bench.engine.error is error


def test_an_endless_run_keeps_nothing_of_what_is_over():
    bench = Bench()
    bench.begin(more=True)
    engine = bench.engine
    for n in range(100):
        leaf = bench.add(f"leaf {n}", timeout=1.0)
        item = bench.add(n, leaf, tolerant_root=True)
        bench.settle()
        bench.start(leaf)
        bench.succeed(leaf)
        bench.succeed(item, n)
        bench.deliveries()
        engine.collected(item)
        bench.starts()
        bench.alarms()
    assert not engine._roots
    assert not engine._fresh
    assert not engine._alarms._live


def test_a_spent_item_is_refused():
    bench = Bench(name=lambda node: f"<{node}>")
    a = bench.add("a", root=True)
    bench.begin(more=True)
    bench.succeed(a, 1)
    bench.engine.collected(a)
    b = bench.add("b")
    with pytest.raises(InternalError, match="<a>"):
        bench.engine.link(b, [a])
    with pytest.raises(InternalError, match="spent"):
        bench.engine.root(a)


def test_adding_to_a_run_that_is_over_is_in_vain_but_harmless():
    bench = Bench()
    a = bench.add("a", root=True)
    bench.begin()
    bench.engine.cancel(bench.now)
    bench.end(a)
    b = bench.add("b", a, root=True, wait=1.0)
    bench.settle()
    assert b.status == CANCELLED
    assert b.inputs == ()
    assert bench.starts() == []
    assert bench.engine.finished


# -------------------------------------------------------------- late events, sizes


def test_events_of_what_is_over_are_ignored():
    bench = Bench()
    a = bench.add("a", root=True)
    b = bench.add("b", root=True)
    bench.begin()
    bench.succeed(a, 1)
    bench.succeed(a, 2)
    bench.fail(a)
    bench.start(a)
    bench.end(a)
    bench.expand(a)
    bench.assemble(a)
    assert a.value == 1
    bench.engine.succeeded(b, 0, 5, bench.now)
    bench.engine.failed(b, 2, ValueError(), bench.now)
    bench.engine.started(b, 2, bench.now)
    bench.engine.ended(b, 1, "killed", bench.now)  # nobody asked for it
    bench.engine.alarm(12345, bench.now)
    assert b.state == "issued"
    assert bench.engine.how == "already done"


def test_a_deep_chain():
    bench = Bench()
    items = [bench.add(0)]
    for n in range(1, 50_000):
        items.append(bench.add(n, items[-1]))
    bench.engine.root(items[-1])
    bench.begin()
    for item in items:
        bench.succeed(item, 1)
    assert bench.engine.finished


def test_a_deep_chain_fails_and_is_cancelled_without_recursion():
    for how in ("fail", "cancel", "orphan"):
        bench = Bench()
        leaf = bench.add("leaf")
        top = leaf
        for n in range(50_000):
            top = bench.add(n, top, wait=5.0 if n == 49_999 else None)
        bench.engine.root(top if how != "orphan" else bench.add("other"))
        bench.begin()
        if how == "fail":
            bench.fail(leaf)
            assert top.error is bench.engine.error
        elif how == "cancel":
            bench.starts()
            bench.engine.cancel(bench.now)
            bench.end(leaf)
            assert bench.engine.finished
        else:
            assert leaf.status == CANCELLED


def test_a_wide_fan():
    bench = Bench()
    source = bench.add("source")
    fan = [bench.add(n, source) for n in range(50_000)]
    bench.add("all", *fan, assemble=True, root=True)
    bench.begin()
    assert bench.starts() == ["source"]
    bench.succeed(source)
    assert bench.starts() == list(range(50_000))
    for item in fan:
        bench.succeed(item)
    assert bench.assembles() == ["all"]
