"""What is done with the requests of tasks that run graphs."""

import pickle
from collections import deque
from types import SimpleNamespace

import pytest

from entangle._pool.nested import START, NestedCalls
from entangle._pool.shipping import Shipper
from entangle.testing import RecordedCall


class Processes:
    """Takes note of what is started."""

    capacity = 2

    def __init__(self):
        self.started = []

    def steps_aside(self, worker):
        pass

    def goes_on(self, worker):
        pass

    def start(self, call, prepared):
        self.started.append((call, prepared))


class Calling(RecordedCall):
    """A call of a run."""

    def rank(self):
        return 7, 2


@pytest.fixture
def processes():
    return Processes()


@pytest.fixture
def requested(processes):
    """Ask for a call; with the function if it was not sent before."""
    calls = NestedCalls(processes, Shipper(), lambda _: None)
    numbers = iter(range(1, 100))

    def ask(worker, data, state):
        request = {
            "name": "leaf",
            "wants_start": False,
            "alone": False,
            "args": (1,),
            "kwargs": None,
            "payload": None,
            "function": (b"digest", data, True),
            "anew": False,
            "snapshot": (3, state),
            "key": ((), "", 0, (), False),
            "limit": None,
            "bound": 0,
            "scheduler": None,
            "cpus": 1,
            "depth": 1,
            "is_async": False,
        }
        body = pickle.dumps((START, next(numbers), request))
        calls.requested(worker, SimpleNamespace(body=body, buffers=(), marks=()))

    return ask


def job(call, arrival=5):
    return SimpleNamespace(call=call, arrival=arrival)


def worker(*calls):
    return SimpleNamespace(
        outstanding=deque(job(call) for call in calls),
        children={},
        nested_functions={},
        nested_snapshots={},
    )


def test_it_is_for_the_run_of_the_call_that_asks(requested, processes):
    requested(worker(Calling(len)), b"function", b"state")
    ((call, prepared),) = processes.started
    assert call.rank() == (7, 3)
    assert prepared.shipped.data == b"function"


def test_it_knows_when_the_outermost_call_came_that_waits_for_it(requested, processes):
    requested(worker(Calling(len)), b"function", b"state")
    ((call, _),) = processes.started
    assert call.root == 5
    further = worker()
    further.outstanding.append(job(call, 9))
    requested(further, b"function", b"state")
    assert processes.started[1][0].root == 5


def test_what_an_ended_call_has_sent_is_known_to_the_next(requested, processes):
    """A thread that a body has left asks in vain, but sends its function once."""
    asking = worker()
    requested(asking, b"function", b"state")
    assert not processes.started
    asking.outstanding.append(job(Calling(len)))
    requested(asking, None, None)
    ((_, prepared),) = processes.started
    assert prepared.shipped.data == b"function"
    assert prepared.snapshot.data == b"state"
