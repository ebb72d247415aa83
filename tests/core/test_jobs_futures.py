"""Places that answer without being asked: by futures, for which nobody waits."""

import concurrent.futures
import threading

import pytest
from jobs_kit import Bench, Shelf

from entangle._jobs import desk as desks
from entangle.backend import Capabilities, DirectoryStore
from entangle.errors import EntangleError, JobError, PlaceBusyError
from entangle.testing import RecordedCall


class Futures:
    """Has a place return a future of each answer."""

    def __init__(self, bench):
        self.bench = bench
        self.coming = {}
        self._create = bench.place.create
        bench.place.create = self.create
        bench.place.capabilities = Capabilities()

    def create(self, job):
        self._create(job)
        made = self.coming[job.name] = concurrent.futures.Future()
        return made

    def answer(self, ticket):
        self.coming[ticket.name].set_result(self.bench.answered(ticket))


@pytest.fixture
def bench(tmp_path):
    return Bench(DirectoryStore(tmp_path / "store"))


@pytest.fixture
def futures(bench):
    return Futures(bench)


def ends(call):
    return [(end.kind, end.detail) for end in call.ends()]


def left(bench, ticket):
    return [o.key for o in bench.store.list("entangle/") if ticket.name in o.key]


def test_the_place_answers_when_it_likes(bench, futures):
    given = [bench.submit(len, "x" * number) for number in range(5)]
    bench.turn()
    assert {ticket.stage for _, ticket in given} == {"awaited"}
    assert bench.turn(60) is None  # it is not asked
    assert bench.place.asked == []
    for call, ticket in reversed(given):
        futures.answer(ticket)
        assert not call.ends()  # that is for the crew to tell
    bench.crew.turn()
    assert [ends(call) for call, _ in given] == [[("succeeded", n)] for n in range(5)]
    assert not any(left(bench, ticket) for _, ticket in given)


def test_more_are_awaited_than_there_are_hands_but_not_more_than_may(bench, futures):
    bench.place.at_once = 20
    given = [bench.submit(len, ()) for _ in range(50)]
    for _ in range(5):
        bench.turn()
    assert len(futures.coming) == 20 > bench.place.hands
    futures.answer(given[3][1])
    for _ in range(3):
        bench.turn()
    assert len(futures.coming) == 21


def test_what_is_held_for_them_has_a_limit(bench, futures, monkeypatch):
    """Payloads are as large as the calls; one that is larger than all goes alone."""
    monkeypatch.setattr(desks, "_MOST", 10_000)
    small = [bench.submit(len, b"x" * 3_000) for _ in range(5)]
    large = bench.submit(len, b"x" * 20_000)
    for _ in range(5):
        bench.turn()
    assert len(futures.coming) == 3
    for _, ticket in small[:3]:
        futures.answer(ticket)
    for _ in range(5):
        bench.turn()
    assert len(futures.coming) == 5
    assert large[1].name not in futures.coming
    for _, ticket in small[3:]:
        futures.answer(ticket)
    for _ in range(5):
        bench.turn()
    assert large[1].name in futures.coming


def test_what_lies_in_the_store_is_not_held(bench, futures, monkeypatch):
    """All have it once, however many there are."""
    monkeypatch.setattr(desks, "_MOST", 10_000)
    shared = "x" * 1_000_000
    for _ in range(12):
        bench.submit(len, shared)
    for _ in range(5):
        bench.turn()
    assert len(futures.coming) == 12


def test_no_room_is_heard_of_later(bench, futures):
    """As if the place had said so at once: it is created again."""
    call, ticket = bench.submit(len, "abc")
    bench.turn()
    futures.coming[ticket.name].set_exception(PlaceBusyError("throttled"))
    bench.crew.turn()
    assert ticket.stage == "queued"
    bench.turn(60)
    futures.answer(ticket)
    bench.turn()
    assert ends(call) == [("succeeded", 3)]


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (OSError("no route"), JobError, "it can't be made: no route"),
        (EntangleError("no such role"), EntangleError, "no such role"),
        (concurrent.futures.CancelledError(), JobError, "given it up"),
    ],
)
def test_a_refusal_is_heard_of_later(bench, futures, error, kind, text):
    call, ticket = bench.submit(len, "abc")
    bench.turn()
    futures.coming[ticket.name].set_exception(error)
    bench.crew.turn()
    [end] = call.ends()
    assert isinstance(end.detail, kind)
    assert text in str(end.detail)
    assert not left(bench, ticket)


@pytest.mark.parametrize(
    ("kill", "how"), [(False, "abandoned"), (True, "killed")], ids=["stays", "ends"]
)
def test_what_nobody_wants_is_cancelled(bench, futures, kill, how):
    bench.place.capabilities = Capabilities(kill=kill)
    call, ticket = bench.submit(len, "abc")
    bench.turn()
    bench.desk.cancel(call)
    assert futures.coming[ticket.name].cancelled()
    bench.crew.turn()
    assert ends(call) == [("cancelled", how)]
    assert not left(bench, ticket)


@pytest.mark.parametrize("kill", [False, True], ids=["stays", "ends"])
def test_what_nobody_wants_any_more_when_it_is_created(bench, futures, kill):
    """The cancel comes while the place is being told of the job."""
    bench.place.capabilities = Capabilities(kill=kill)
    create = bench.place.create

    def cancelled(job):
        made = create(job)
        bench.desk.cancel(call)
        return made

    bench.place.create = cancelled
    call, ticket = bench.submit(len, "abc")
    bench.turn()
    bench.turn()
    assert futures.coming[ticket.name].cancelled()
    assert ends(call) == [("cancelled", "killed" if kill else "abandoned")]
    assert not left(bench, ticket)


def test_an_answer_that_overtakes_the_cancel(bench, futures):
    bench.place.capabilities = Capabilities(kill=True)
    call, ticket = bench.submit(len, "abc")
    bench.turn()
    futures.answer(ticket)
    bench.desk.cancel(call)
    bench.crew.turn()
    assert ends(call) == [("succeeded", 3)]


def test_shutdown_waits_for_what_is_awaited(tmp_path):
    """Not for what was given up."""
    place = Shelf(kept=DirectoryStore(tmp_path / "store"))
    place.capabilities = Capabilities()
    coming, created = [], threading.Semaphore(0)

    def create(job):
        del job
        coming.append(concurrent.futures.Future())
        created.release()
        return coming[-1]

    place.create = create
    calls = [RecordedCall(len, "abc") for _ in range(2)]
    for call in calls:
        place.start(call)
        created.acquire()
    waiting = threading.Thread(target=place.shutdown)
    waiting.start()
    place.cancel(calls[0], 0.0)
    assert ends(calls[0]) == [("cancelled", "abandoned")]
    assert waiting.is_alive()
    coming[1].set_exception(EntangleError("no"))
    waiting.join()
    assert [end.kind for end in calls[1].ends()] == ["failed"]
