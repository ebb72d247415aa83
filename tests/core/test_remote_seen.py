"""Calls in places are seen as those in processes of this machine are."""

import time

import pytest
from remote_kit import HereExecutor

from entangle.process import process
from entangle.run import NodeEnded, NodeSpan, observe, span, trace, traceparent
from entangle.task import gather, task

pytestmark = pytest.mark.process


@pytest.fixture
def here():
    with HereExecutor() as executor:
        yield executor


@pytest.fixture
def stranger():
    with HereExecutor(trust=False) as executor:
        yield executor


def observed(node):
    events = []
    with observe(events.append):
        value = node()
    return value, events


@pytest.mark.parametrize(
    "value",
    [1, "text", [1, 2], [*range(100)], {1.5}, b"x" * 300_000, ValueError("odd")],
    ids=lambda value: type(value).__name__,
)
def test_values_are_shown_as_those_of_processes(here, value):
    def same(given):
        return given

    shown = [
        [
            event.value
            for event in observed(how(same)(value))[1]
            if type(event) is NodeEnded
        ]
        for how in (task(executor=here), process)
    ]
    assert shown[0] == shown[1]
    assert all(shown[0])


def test_calls_have_names_in_a_trace(here, tmp_path):
    ask = task(executor=here)(lambda: traceparent())
    with trace(tmp_path / "t.json"):
        names = gather(ask(), ask(), process(traceparent)())()
    assert len({name.split("-")[1] for name in names}) == 1
    assert len(set(names)) == 3
    assert ask()() is None


def test_parts_of_calls_are_told_of(here):
    def work():
        began = time.time()
        span("reading", began, shard=7)
        return began

    work.__qualname__ = "work"
    began, events = observed(task(executor=here)(work)())
    (part,) = (event for event in events if type(event) is NodeSpan)
    assert (part.name, part.span, part.started) == ("work", "reading", began)
    assert part.attributes == {"shard": 7}


def test_who_is_not_trusted_tells_nothing(stranger, tmp_path):
    def work():
        span("reading", time.time())
        return traceparent()

    with trace(tmp_path / "t.json"):
        name, events = observed(task(executor=stranger)(work)())
    assert name is None
    assert NodeSpan not in map(type, events)
