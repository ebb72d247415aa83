"""No answer is lost or held back by the page that several of them wait in."""

import mmap
import os
import pickle
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from life_kit import PATIENCE, until, within
from worker_kit import PAGE, Caller, double, values

from entangle._worker import frames, page
from entangle._worker import main as worker
from entangle.process import process
from entangle.task import as_completed, gather

SIZES = st.integers(1, page.ROOM + 1)
STEPS = st.lists(st.one_of(SIZES, st.just("send"), st.just("read")), max_size=30)


@pytest.fixture
def memory():
    with mmap.mmap(-1, PAGE) as made:
        yield made


@given(STEPS)
def test_what_is_not_sent_is_in_sight(steps):
    with mmap.mmap(-1, PAGE) as memory:
        made, expected = page.Page(memory), b""
        for number, step in enumerate(steps):
            if step == "send":
                assert made.held() == expected
                made.sent()
                expected = b""
            elif step == "read":
                assert page.unsent(memory) == expected
            else:
                answer = bytes([number]) * step
                if made.hold(answer, 0):
                    expected += answer
                else:
                    assert len(expected) + step > page.ROOM
            assert made.size == len(expected)


def test_answers_wait_for_others_only_for_a_while(memory):
    made = page.Page(memory)
    assert made.hold(b"a", 1_000)
    assert made.hold(b"b", 1_000 + page.LONGEST)
    assert not made.hold(b"c", 1_001 + page.LONGEST)
    made.sent()
    assert made.hold(b"c", 1_001 + page.LONGEST)


def test_none_waits_where_others_could_see_it_too_early(memory, monkeypatch):
    monkeypatch.setattr(page, "_ORDERED", False)
    assert not page.Page(memory).hold(b"a", 0)


class Moving(mmap.mmap):
    """Memory in which the worker goes on while its answers are copied."""

    def __getitem__(self, where):
        copied = super().__getitem__(where)
        self.go_on()
        return copied


def test_what_is_sent_while_it_is_read_is_not_read():
    with Moving(-1, PAGE) as memory:
        made = page.Page(memory)
        made.hold(b"abc", 0)

        def go_on():
            made.sent()
            made.hold(b"xyz", 0)

        memory.go_on = go_on
        assert page.unsent(memory) == b""
        memory.go_on = int
        assert page.unsent(memory) == b"xyz"


@pytest.fixture
def caller():
    made = Caller()
    yield made
    made.close()


def test_calls_that_differ_by_their_arguments(caller):
    number = caller.function(double)
    os.write(caller.grants, worker.NUMBER.pack(2) + worker.NUMBER.pack(3))
    alike = pickle.dumps((1, number, 0, [(5,), (6,), (7,), (8,)]))
    frames.send(caller.sock, frames.pack(frames.CALLS, alike, (), frames.ALIKE))
    # The last one was taken back.
    assert [caller.answer() for _ in range(3)] == [(1, 10), (2, 12), (3, 14)]
    caller.number = 10
    assert caller.value(double, 1) == 2


def test_answers_before_one_that_takes_long_can_be_read(caller):
    number = caller.function(double)
    slow = caller.function(time.sleep)
    entries = [
        (1, number, (1,), None, 0),
        (2, number, (2,), None, 0),
        (3, slow, (0.2,), None, 0),
    ]
    frames.send(caller.sock, frames.pack(frames.CALLS, pickle.dumps(entries)))
    until(lambda: page.begun(caller.page)[0] == 3)
    seen = values(page.unsent(caller.page))
    while len(seen) < 2:  # what a busy machine has made slow was sent at once
        seen = [*values(caller.receive().body), *seen]
    assert [(n, value) for n, _, value in seen] == [(1, 2), (2, 4)]
    until(lambda: caller.answer()[0] == 3)


# -- seen by the caller


@process
def step(number, folder, deed):
    """Be quick, but for one call."""
    if number == deed[0]:
        with Path(folder, str(number)).open("a") as file:
            file.write("x")
        if deed[1] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if deed[1] == "hog":
            # In C, for ever and a day, with the interpreter's lock.
            sum(map(len, iter(str, None)))
    return number


@pytest.fixture
def warm(monkeypatch, tmp_path):
    """One worker, which knows that the function is quick."""
    from entangle.task import shutdown

    shutdown()
    monkeypatch.setenv("ENTANGLE_WORKERS", "2")
    gather(*[step(number, "", (-1, "")) for number in range(200)])()
    yield tmp_path
    shutdown()


pytestmark = pytest.mark.process


@process
def twice(text, number):
    return [text, text, number, text]


def test_values_do_not_refer_to_each_other(warm):
    gather(*[twice("", number) for number in range(100)])()
    texts = [f"text {number}" for number in range(300)]
    found = gather(*[twice(text, text) for text in texts])()
    assert found == [[text] * 4 for text in texts]


@pytest.mark.parametrize("culprit", [1, 5, 20])
def test_nobody_waits_for_a_neighbour_that_holds_the_interpreter(warm, culprit):
    nodes = [step(number, str(warm), (culprit, "hog")) for number in range(32)]
    landed = set()
    with within(PATIENCE):
        for node, future in as_completed(nodes):
            landed.add(future.result())
            assert node is nodes[future.result()]
            if len(landed) == 31:
                break
    assert landed == set(range(32)) - {culprit}


@pytest.mark.parametrize("culprit", [1, 5, 20])
def test_answers_of_a_worker_that_dies_are_not_lost(warm, culprit):
    nodes = [step(number, str(warm), (culprit, "die")) for number in range(32)]
    values = gather(*nodes, return_exceptions=True)()
    errors = [value for value in values if isinstance(value, Exception)]
    assert [values.index(error) for error in errors] == [culprit]
    assert [v for v in values if v not in errors] == [
        n for n in range(32) if n != culprit
    ]
    assert Path(warm, str(culprit)).read_text() == "x"
