"""Many jobs that are ended at once, and what is said of those that are not."""

import threading
import time

import pytest
from jobs_kit import Bench

from entangle._jobs import desk as desks
from entangle.backend import DirectoryStore, JobState
from entangle.errors import JobError, PlaceBusyError

BUSY = PlaceBusyError("Rate exceeded")


@pytest.fixture
def bench(tmp_path):
    return Bench(DirectoryStore(tmp_path / "store"))


def several(bench, number):
    """Have so many jobs that their place has."""
    given = [bench.submit(len, ()) for _ in range(number)]
    while any(ticket.stage != "there" for _, ticket in given):
        bench.turn()
    return given


def ends(call):
    return [(end.kind, end.detail) for end in call.ends()]


class Bulk:
    """Has a place end many jobs with a request."""

    def __init__(self, bench, batch=100):
        self.place = bench.place
        self.place.end_batch = batch
        self.place.end = self.end
        self.asked = []
        self.over = True
        self.refusals = []

    def end(self, handles):
        self.asked.append([*handles])
        if self.refusals:
            raise self.refusals.pop()
        return dict.fromkeys(handles, self.over)


@pytest.mark.parametrize("jobs", [99, 100, 101, 1000])
def test_many_jobs_are_ended_with_few_requests(bench, jobs):
    bulk = Bulk(bench)
    given = several(bench, jobs)
    for call, _ in given:
        bench.desk.cancel(call)
    bench.crew.turn()
    assert len(bulk.asked) == -(-jobs // 100)
    names = [handle for handles in bulk.asked for handle in handles]
    assert names == [ticket.handle for _, ticket in given]
    assert {end for call, _ in given for end in ends(call)} == {("cancelled", "killed")}


def test_throttling_is_waited_for_and_told_again(bench, monkeypatch):
    paused = []
    monkeypatch.setattr("entangle._jobs.ending.time.sleep", paused.append)
    bulk = Bulk(bench)
    bulk.refusals = [BUSY] * 5
    given = several(bench, 30)
    for call, _ in given:
        bench.desk.cancel(call)
    bench.crew.turn()
    assert len(bulk.asked) == 6
    assert len(paused) == 5
    assert sum(paused) > 2  # they grow
    assert {end for call, _ in given for end in ends(call)} == {("cancelled", "killed")}


def test_what_is_under_way_is_not_told_again(bench):
    """However often the place is asked meanwhile: it hears of each once."""
    bulk = Bulk(bench, batch=1)
    given = several(bench, 3)
    bulk.over = False
    for call, _ in given:
        bench.desk.cancel(call)
    for _ in range(20):
        bench.clock.advance(100.0)
        bench.desk.round()
    bench.crew.turn()
    assert sorted(bulk.asked) == sorted([ticket.handle] for _, ticket in given)
    assert not bench.desk.left()
    # Of the last it hears again, since it has not ended it.
    for _, ticket in given[:2]:
        bench.place.states[ticket.handle] = JobState("ended")
    bench.turns(20)
    assert [handle for (handle,) in bulk.asked[3:]] == [given[2][1].handle] * 2


def test_what_has_ended_as_told_is_not_told_again(bench):
    bench.place.ends_at_once = False
    (given,) = several(bench, 1)
    call, ticket = given
    bench.desk.cancel(call)
    bench.turn()
    bench.place.states[ticket.handle] = JobState("ended")
    bench.turns()
    assert ends(call) == [("cancelled", "killed")]
    assert bench.place.deleted == [(ticket.handle, False), (ticket.handle, True)]


def test_jobs_are_ended_by_many_threads_though_others_wait(tmp_path):
    """What is ended does not wait behind what is created."""
    bench = Bench(DirectoryStore(tmp_path / "store"))
    place = bench.place
    desk = desks.Desk(place, bench.papers, time.monotonic)
    together = threading.Barrier(place.enders)
    go_on = threading.Event()
    create = place.create

    def delete(handle, *, over):
        together.wait(60)
        return True

    place.delete = delete
    bench.desk, bench.clock.now = desk, time.monotonic
    calls = []
    for number in range(place.enders + place.hands):
        if number == place.enders:
            while len(desk._table.all("there")) < place.enders:
                time.sleep(0.001)
            place.create = lambda job: go_on.wait(60) and create(job)
        call, ticket = bench.submit(len, ())
        calls.append(call)
        if number == 0:
            threading.Thread(target=desk._serve, daemon=True).start()
    for call in calls[: place.enders]:
        desk.cancel(call)
    for call in calls[: place.enders]:
        assert call.end(60).detail == "killed"
    place.delete = lambda *_, **__: True
    for call in calls:
        desk.cancel(call)
    go_on.set()
    for call in calls:
        call.end(60)
    desk.close()
    desk.join()


# -- those that could not be ended -----------------------------------------------------


def strays(bench, number):
    """Have jobs that could not be ended when their calls were cancelled."""
    given = several(bench, number)
    bench.place.end = lambda handles: (_ for _ in ()).throw(OSError("no route"))
    for call, _ in given:
        bench.desk.cancel(call)
    bench.crew.turn()
    assert {end for c, _ in given for end in ends(c)} == {("cancelled", "cannot kill")}
    return [ticket.handle for _, ticket in given]


def test_at_the_close_they_are_ended_by_many_at_once(bench, caplog):
    names = strays(bench, 40)
    assert len(caplog.records) == 1  # not one for each
    caplog.clear()
    told = []
    together = threading.Barrier(bench.place.enders)

    def end(handles):
        told.extend(handles)
        if 1 < len(told) <= 1 + bench.place.enders:
            together.wait(60)
        return {}

    bench.place.end = end
    bench.desk.close()
    assert sorted(told) == sorted(names)
    assert not caplog.records


def test_at_the_close_throttling_is_waited_for(bench, caplog, monkeypatch):
    monkeypatch.setattr("entangle._jobs.strays.time.sleep", lambda _: None)
    names = strays(bench, 5)
    caplog.clear()
    bulk = Bulk(bench, batch=2)
    bulk.refusals = [BUSY] * 6
    bench.desk.close()
    assert {name for handles in bulk.asked for name in handles} == set(names)
    assert not caplog.records


def test_of_many_that_are_left_some_are_named(bench, caplog):
    names = strays(bench, 50)
    caplog.clear()
    bench.desk.close()
    (warning,) = caplog.records
    text = warning.getMessage()
    assert text.startswith("50 jobs of shelf may still run, until ")
    assert [name for name in names if f"{name}," in text or f"{name} and" in text]
    assert "and 40 more" in text
    assert "no route" in text


# -- who waits for the end, and not for ever -------------------------------------------


def test_it_is_worth_waiting_as_long_as_jobs_are_ended(bench):
    bulk = Bulk(bench, batch=1)
    bulk.over = False
    given = several(bench, 10)
    for call, _ in given:
        bench.desk.cancel(call)
    works, bench.crew.works = bench.crew.works, []
    for number, work in enumerate(works):
        assert len(bench.desk.left()) == 10 - number
        bench.clock.advance(9.0)
        assert number == 0 or bench.desk.worth() > 0
        work()
    # They are told: of their ends is heard soon, or never mind.
    assert not bench.desk.left()
    assert 0 < bench.desk.worth() <= 5.0
    bench.clock.advance(5.0)
    assert bench.desk.worth() <= 0


def test_a_place_that_is_silent_is_not_worth_waiting_for(bench):
    (call, _), *_ = several(bench, 3)
    bench.desk.cancel(call)
    bench.clock.advance(10.0)
    assert bench.desk.worth() <= 0


def test_throttling_is_worth_waiting_for(bench, monkeypatch):
    bulk = Bulk(bench)
    (call, _), *_ = several(bench, 1)
    bulk.refusals = [BUSY] * 3

    def throttled(seconds):
        assert bench.desk.worth() == 10.0
        bench.clock.advance(9.0)

    monkeypatch.setattr("entangle._jobs.ending.time.sleep", throttled)
    bench.desk.cancel(call)
    bench.crew.turn()
    assert len(bulk.asked) == 4


def test_what_is_given_up_is_named_once(bench, caplog):
    """That which was told is not, nor what has answered."""
    given = several(bench, 4)
    told, untold, answered, strayed = (ticket for _, ticket in given)
    bench.place.ends_at_once = False
    bench.desk.cancel(told.call)
    bench.turn()
    bench.answer(answered)
    while answered.call.ends() == []:
        bench.turn(60.0)
    bench.desk.cancel(untold.call)
    strayed.last = BUSY
    bench.desk.give_up()
    bench.desk.give_up()
    (warning,) = caplog.records
    text = warning.getMessage()
    assert text.startswith("2 jobs of shelf may still run, until ")
    assert f": {untold.handle}, {strayed.handle}; " in text
    assert "Rate exceeded" in text
    assert told.handle not in text
    bench.desk._closing = True
    assert not bench.desk._done()
    assert ends(told.call) == [("cancelled", "unconfirmed")]


def test_nothing_is_said_where_all_were_told(bench, caplog):
    bench.place.ends_at_once = False
    given = several(bench, 4)
    for call, _ in given:
        bench.desk.cancel(call)
    bench.turn()
    bench.desk.give_up()
    assert not caplog.records
    assert bench.desk._done()
    bench.desk.close()
    assert not list(bench.store.list(""))


def test_an_error_names_the_job_that_may_run(bench):
    """One that can't be asked after is told to end at the close; the error says so."""
    (call, ticket), *_ = several(bench, 1)
    bench.place.poll_error = JobError("access denied", node="x", place="shelf")
    bench.turns()
    ((_, error),) = ends(call)
    assert error.resource == ticket.handle
    assert bench.desk.left() == [ticket]
