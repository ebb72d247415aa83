"""The firing rule of push graphs: events in any order, against a plain model."""

import pytest
from engine_kit import Bench, is_timeout
from hypothesis import given
from hypothesis import strategies as st

from entangle._engine_items import FAILED, SKIPPED, SUCCEEDED

DATA = st.data()


def pushed(bench, name, *parents, **options):
    return bench.add(name, *parents, push=True, **options)


def collector(bench, *leaves, **how):
    return bench.add("all", *leaves, assemble=True, tolerant=True, root=True, **how)


def test_a_value_goes_to_all_children():
    bench = Bench()
    a = pushed(bench, "a")
    b, c = pushed(bench, "b", a), pushed(bench, "c", a)
    all_ = collector(bench, b, c)
    bench.begin()
    assert bench.starts() == ["a"]
    bench.succeed(a, 1)
    assert bench.starts() == ["b", "c"]
    bench.succeed(c, 3)
    assert a.value == 1
    bench.succeed(b, 2)
    assert a.value is None
    assert bench.assembles() == ["all"]
    bench.assemble(all_)
    assert bench.deliveries() == [("all", [2, 3])]
    assert bench.engine.finished


def test_a_value_that_is_given():
    bench = Bench()
    source = bench.engine.given("source", pushed(bench, "x").options, 5)
    a, b = pushed(bench, "a", source), pushed(bench, "b", source)
    bench.engine.unpin(source)
    collector(bench, a, b)
    bench.begin()
    assert bench.starts() == ["a", "b"]
    bench.succeed(a)
    assert source.value == 5
    bench.succeed(b)
    assert source.value is None


def test_a_failure_stops_its_branch_and_no_other():
    bench = Bench()
    a = pushed(bench, "a")
    b, c = pushed(bench, "b", a), pushed(bench, "c", a)
    below = pushed(bench, "below", b)
    lowest = pushed(bench, "lowest", below)
    collector(bench, lowest, c)
    bench.begin()
    bench.starts()
    bench.succeed(a)
    bench.starts()
    bench.fail(b)
    assert [below.state, lowest.state] == ["skipped", "skipped"]
    assert bench.engine.outcome is None
    assert bench.assembles() == []
    bench.succeed(c)
    assert bench.assembles() == ["all"]


def test_fan_in_waits_for_all_parents_though_one_has_failed():
    bench = Bench()
    a = pushed(bench, "a")
    b, c = pushed(bench, "b", a), pushed(bench, "c", a)
    join = pushed(bench, "join", b, c)
    collector(bench, join)
    bench.begin()
    bench.starts()
    bench.succeed(a)
    bench.starts()
    bench.fail(b)
    assert join.state == "waiting"
    assert bench.cancels() == []
    bench.succeed(c)
    assert join.state == "skipped"
    assert bench.assembles() == ["all"]


def test_fan_in_fires_with_those_parents_that_ran():
    bench = Bench()
    a = pushed(bench, "a")
    b, c = pushed(bench, "b", a), pushed(bench, "c", a)
    below = pushed(bench, "below", b)
    join = pushed(bench, "join", below, c)
    collector(bench, join)
    bench.begin()
    bench.starts()
    bench.succeed(a)
    bench.starts()
    bench.succeed(c)
    bench.fail(b)
    assert below.state == "skipped"
    assert bench.starts() == ["join"]


def test_wait_counts_from_the_first_value():
    bench = Bench()
    a, b, c = pushed(bench, "a"), pushed(bench, "b"), pushed(bench, "c")
    join = pushed(bench, "join", a, b, c, wait=5)
    collector(bench, join)
    bench.begin()
    bench.start(a, b, c)
    assert bench.alarms() == []
    bench.fail(c)
    assert bench.alarms() == []
    bench.succeed(a)
    assert bench.alarms() == [5]
    bench.wake(5)
    assert is_timeout(join.error, "wait", 5, "join")
    # Nobody else wants it.
    assert bench.cancels() == [("b", 1)]
    bench.end(b)
    assert bench.assembles() == ["all"]


def test_wait_is_over_when_all_are_decided():
    bench = Bench()
    a, b = pushed(bench, "a"), pushed(bench, "b")
    join = pushed(bench, "join", a, b, wait=5)
    collector(bench, join)
    bench.begin()
    bench.start(a, b)
    bench.succeed(a)
    bench.succeed(b)
    assert bench.starts() == ["join"]
    bench.wake(6)
    assert join.state == "issued"


def test_what_a_pushed_body_returns_is_pulled():
    bench = Bench()
    a = pushed(bench, "a")
    b = pushed(bench, "b", a)
    all_ = collector(bench, b)
    bench.begin()
    bench.starts()
    one, other = bench.add("one"), bench.add("other")
    bench.expand(a, one, other)
    assert bench.starts() == ["one", "other"]
    error = bench.fail(one)
    assert a.error is error
    assert b.state == "skipped"
    assert all_.state == "assembling"


def test_chosen_items_may_fail_without_the_choice():
    bench = Bench()
    a = pushed(bench, "a")
    choice = pushed(bench, "choice", a)
    all_ = collector(bench, choice)
    bench.begin()
    bench.starts()
    bench.succeed(a, 1)
    bench.starts()
    good, bad = pushed(bench, "good", a), pushed(bench, "bad", a)
    bench.engine.expanded(
        choice, choice.attempt, [good, bad], bench.now, value="raw", tolerant=True
    )
    assert bench.starts() == ["good", "bad"]
    bench.fail(bad)
    bench.succeed(good, 2)
    assert bench.assembles() == ["choice"]
    bench.engine.assembled(choice, "chosen", bench.now)
    assert bench.assembles() == ["all"]
    assert all_.inputs[0].value == "chosen"


def test_a_choice_of_nothing():
    bench = Bench()
    choice = pushed(bench, "choice")
    collector(bench, choice)
    bench.begin()
    bench.starts()
    bench.engine.expanded(choice, 1, [], bench.now, value="raw", tolerant=True)
    assert bench.assembles() == ["choice"]


@pytest.mark.parametrize("fails", [True, False])
def test_a_long_chain_needs_no_recursion(fails):
    bench = Bench()
    item = first = pushed(bench, 0)
    for number in range(1, 30_000):
        item = pushed(bench, number, item)
    collector(bench, item)
    bench.begin()
    bench.starts()
    if fails:
        bench.fail(first)
        assert item.state == "skipped"
        assert bench.assembles() == ["all"]
    else:
        bench.succeed(first)
        assert bench.starts() == [1]


@st.composite
def flows(draw):
    """Parents of each node, and which nodes fail, by number."""
    size = draw(st.integers(1, 12))
    parents = [[]]
    for number in range(1, size):
        some = st.integers(0, number - 1)
        parents.append(draw(st.lists(some, min_size=1, max_size=4, unique=True)))
    return parents, draw(st.sets(st.integers(0, size - 1)))


def model(parents, failing):
    """What becomes of each node: a value, 'failed' or 'skipped'."""
    known = []
    for number, above in enumerate(parents):
        fates = [known[parent] for parent in above]
        ran = tuple(fate for fate in fates if isinstance(fate, tuple))
        if "failed" in fates or (above and not ran):
            known.append("skipped")
        else:
            known.append("failed" if number in failing else (number, ran))
    return known


@given(flow=flows(), data=DATA, workers=st.sampled_from([None, 1, 2]))
def test_any_flow_with_events_in_any_order(flow, data, workers):
    parents, failing = flow
    bench = Bench(workers=workers)
    items = []
    for number, above in enumerate(parents):
        items.append(pushed(bench, number, *[items[parent] for parent in above]))
    inner = {parent for above in parents for parent in above}
    collector(bench, *[items[n] for n in range(len(items)) if n not in inner])
    bench.begin()
    running, assembled = [], []
    while not assembled:
        running += bench.starts()
        assert workers is None or len(running) <= workers
        assembled = bench.assembles()
        assert bool(running) != bool(assembled), "decided when all is, and not before"
        if running:
            number = running.pop(data.draw(st.integers(0, len(running) - 1)))
            above = [each.value for each in items[number].inputs]
            if number in failing:
                bench.fail(items[number], ValueError(number))
            else:
                ran = tuple(value for value in above if isinstance(value, tuple))
                bench.succeed(items[number], (number, ran))
    statuses = {"failed": FAILED, "skipped": SKIPPED}
    fates = model(parents, failing)
    for number, (item, fate) in enumerate(zip(items, fates, strict=True)):
        assert item.status == statuses.get(fate, SUCCEEDED)
        if number not in inner and item.status == SUCCEEDED:
            assert item.value == fate
        elif item.status != FAILED:
            assert item.value is None, "dropped with its last consumer"
    assert bench.cancels() == []
