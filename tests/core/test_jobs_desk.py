"""The desk of jobs, by hand: no process, no sleep, a clock that stands still."""

import math
import pickle
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs_kit import Bench

from entangle._jobs.rhythm import Rhythm
from entangle.backend import Capabilities, DirectoryStore, JobState, Pace
from entangle.errors import (
    JobError,
    JobLostError,
    PlaceBusyError,
    ProcessTimeoutException,
    UntrustedResultError,
    VersionMismatchError,
)
from entangle.testing import RecordedCall


class Refusing(DirectoryStore):
    """A store that refuses for some time."""

    refusals = 0
    puts = ()
    seconds = math.inf  # that addresses are good

    def good_until(self):
        return time.time() + self.seconds

    def put(self, key, data):
        self.puts = [*self.puts, key]
        super().put(key, data)

    def get(self, key):
        if self.refusals:
            self.refusals -= 1
            raise OSError("503 Slow Down")
        return super().get(key)


@pytest.fixture
def bench(tmp_path):
    return Bench(Refusing(tmp_path / "store"))


def ends(call):
    return [(end.kind, end.detail) for end in call.ends()]


def test_a_job_is_created_asked_after_fetched_and_deleted(bench):
    call, ticket = bench.there(len, "four")
    bench.answer(ticket)
    bench.turns()
    assert ends(call) == [("succeeded", 4)]
    assert bench.place.deleted == [(ticket.name, True)]
    # Nothing of the job alone is left; what jobs share goes with the session.
    assert not [o.key for o in bench.store.list("entangle/") if ticket.name in o.key]
    bench.desk.close()
    assert not list(bench.store.list(""))


def test_a_job_costs_from_its_creation_on(bench, monkeypatch):
    """Not while it waits for room, nor only when its body begins."""
    billed = []
    monkeypatch.setattr(RecordedCall, "billed", lambda call: billed.append(call))
    bench.place.refusals = [PlaceBusyError("Rate exceeded")]
    call, ticket = bench.submit(len, "abc")
    bench.turn()
    assert not billed
    bench.turns(2)
    assert ticket.stage == "there"
    assert billed == [call]
    assert not ticket.begun


def test_jobs_are_created_as_there_are_hands(bench):
    """What has answered does not wait behind those that are to be created."""
    first, ticket = bench.there(len, "ab")
    bench.answer(ticket)
    for _ in range(1000):
        bench.submit(len, ())
    bench.turn()
    created = len(bench.place.jobs)
    assert created <= 1 + 2 * bench.place.hands
    bench.turn(120)
    bench.turn(120)
    assert ends(first) == [("succeeded", 2)]


def test_an_answer_that_comes_at_once(bench):
    """It is told by the thread that has it, before the next job is begun."""
    told = []
    create = bench.place.create

    def answers(job):
        told.append(len([call for call, _ in given if call.ends()]))
        handle = create(job)
        return bench.answered(next(t for _, t in given if t.name == handle))

    bench.place.create = answers
    given = [bench.submit(len, "x" * number) for number in range(5)]
    bench.turn()
    assert told == [0, 1, 2, 3, 4]
    assert [ends(call) for call, _ in given] == [[("succeeded", n)] for n in range(5)]


def test_a_place_that_can_not_end_calls_does_not_begin_them_either(bench):
    bench.place.capabilities = Capabilities()
    call, ticket = bench.submit(len, ())
    bench.desk.round()
    assert ticket.stage == "creating"
    bench.desk.cancel(call)
    bench.crew.turn()
    assert ends(call) == [("cancelled", "abandoned")]
    assert not bench.place.jobs


@pytest.mark.parametrize("jobs", [99, 100, 101, 1000])
def test_many_jobs_take_few_requests(bench, jobs):
    """At most one for a hundred jobs in each round, be the store asked or the place."""
    bench.place.hands = bench.place.at_once = jobs
    for _ in range(jobs):
        bench.submit(len, ())
    listed = []
    original = bench.papers.news
    bench.papers.news = lambda: listed.append(1) or original()
    bench.turn()
    listed.clear()
    most = -(-jobs // bench.place.batch)
    for _ in range(6):
        bench.place.asked.clear()
        listed.clear()
        bench.turn(120)
        assert len(bench.place.asked) + len(listed) <= most
        assert sum(bench.place.asked) in {0, jobs}
        assert all(asked <= bench.place.batch for asked in bench.place.asked)


def test_no_job_is_asked_after_before_its_time(bench):
    bench.there()
    bench.turn(100)
    asked = len(bench.place.asked)
    pause = bench.turn()
    assert pause > 0
    bench.turn(pause * 0.5)
    bench.turn(pause * 0.4)
    assert len(bench.place.asked) == asked
    bench.turn(pause)
    bench.turn(pause * 4)
    assert len(bench.place.asked) > asked


@given(st.floats(0.01, 10), st.floats(1, 5), st.floats(0, 0.9), st.integers(0, 1 << 32))
def test_pauses_grow_to_a_limit_and_never_exceed_it(first, factor, jitter, seed):
    pace = Pace(first, factor, 60.0, jitter)
    rhythm = Rhythm(pace, seed)
    expected = first
    for _ in range(30):
        pause = rhythm.next()
        assert (1 - jitter) * expected <= pause * 1.0001
        assert pause <= (1 + jitter) * expected * 1.0001
        expected = min(expected * factor, 60.0)
    rhythm.news()
    assert rhythm.next() <= (1 + jitter) * first * 1.0001


def test_a_place_without_room_is_asked_again(bench):
    bench.place.refusals = [PlaceBusyError("Rate exceeded")] * 3
    call, ticket = bench.submit(len, "abc")
    bench.turn()
    assert ticket.stage == "queued"
    assert not call.ends()
    bench.turns(3)
    assert ticket.stage == "there"
    bench.answer(ticket)
    bench.turns()
    assert ends(call) == [("succeeded", 3)]


def test_a_place_that_never_has_room(bench):
    bench.place.refusals = [PlaceBusyError("no capacity")] * 1000
    call, _ = bench.submit(len, "abc")
    for _ in range(100):
        bench.turn(60)
    ((kind, error),) = ends(call)
    assert kind == "failed"
    assert isinstance(error, ProcessTimeoutException)
    assert error.phase == "start"
    assert "no capacity" in str(error.__cause__)


def test_a_place_without_room_is_given_so_long_as_the_task_says(bench):
    """Where starts are not told; else the run counts."""
    place = bench.place
    place.capabilities = place.capabilities._replace(started=False)
    place.refusals = [PlaceBusyError("full")] * 100
    call, ticket = bench.submit(len, ())
    call.options = call.options._replace(start=7.0)
    while not call.ends():
        assert bench.clock.now() - ticket.given <= 7.0
        bench.turn(bench.turn() or 0.0)
    (end,) = call.ends()
    assert (end.detail.phase, end.detail.seconds) == ("start", 7.0)
    assert type(end.detail.__cause__) is PlaceBusyError


def test_a_job_that_never_starts(bench):
    call, ticket = bench.there()
    bench.place.states[ticket.name] = JobState("waiting", "no image")
    bench.turn(1801)
    assert not call.ends()
    bench.turn(1800)
    ((_, error),) = ends(call)
    assert isinstance(error, JobError)
    assert error.resource == ticket.name
    assert "has not begun for 3600 s (no image) and is ended" in str(error)
    bench.turn()
    assert bench.place.deleted == [(ticket.name, False)]


def test_a_start_is_told_once(bench):
    from entangle._worker import transport

    call, ticket = bench.there()
    facts, _ = bench.document(ticket)
    assert not call.has_started()
    transport.put(facts["started"], b"")
    bench.turns()
    assert [report.kind for report in call.reports] == ["started"]
    bench.turn(4000)  # it is not waiting: it may take its time
    assert not call.ends()


def test_a_job_that_ends_without_an_answer(bench):
    call, ticket = bench.there()
    bench.place.states[ticket.name] = JobState("ended", "spot reclaim", exit_code=3)
    bench.turns()
    ((_, error),) = ends(call)
    assert isinstance(error, JobLostError)
    assert (error.exit_code, error.resource) == (3, ticket.name)
    assert "spot reclaim" in str(error)
    assert pickle.loads(pickle.dumps(error)).resource == ticket.name
    assert (ticket.name, False) in bench.place.deleted


def test_an_answer_counts_however_its_job_ended(bench):
    call, ticket = bench.there(len, "ab")
    bench.place.states[ticket.name] = JobState("ended", "killed", exit_code=137)
    bench.answer(ticket)
    bench.turns()
    assert ends(call) == [("succeeded", 2)]


def test_a_place_that_does_not_know_the_job_yet(bench):
    call, ticket = bench.there(len, "ab")
    state = bench.place.states.pop(ticket.name)
    for _ in range(20):
        bench.turn(2)
    assert not call.ends()
    bench.place.states[ticket.name] = state
    bench.turns()
    assert not call.ends()
    # What it has known once it does not forget for a while.
    del bench.place.states[ticket.name]
    bench.turns(6, 61)
    ((_, error),) = ends(call)
    assert "knows nothing of it" in str(error)


def test_what_signs_ends_before_the_job_may(bench, caplog):
    """It is said before the first is created, and not again."""
    bench.store.seconds = 310
    create = bench.place.create
    said = []
    bench.place.create = lambda job: said.append(caplog.text) or create(job)
    for _ in range(2):
        bench.there()
    assert "can leave their answers until" in said[0]
    assert "for 5 minutes" in said[0]
    assert "By its lifetime= a call of len" in said[0]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("seconds", "timeout", "warned"),
    [
        (math.inf, None, False),
        (3700, None, False),
        (310, 600.0, True),
        (310, 60.0, False),
    ],
)
def test_what_signs_lasts_for_the_time_that_a_task_has(
    bench, caplog, seconds, timeout, warned
):
    bench.store.seconds = seconds
    call, _ = bench.submit(len, ())
    call.options = call.options._replace(timeout=timeout)
    bench.turn()
    assert len(caplog.records) == warned
    assert ("By its timeout=" in caplog.text) == warned


def test_a_job_whose_answer_had_nowhere_to_go_any_more(bench):
    bench.store.seconds = -1
    call, ticket = bench.there()
    bench.place.states[ticket.name] = JobState("ended", "exited", exit_code=75)
    bench.turns()
    ((_, error),) = ends(call)
    assert isinstance(error, JobLostError)
    assert "since the credentials expired then" in str(error)
    assert "exited" in str(error)


def test_a_place_that_never_knows_the_job(bench):
    call, ticket = bench.there(len, "ab")
    del bench.place.states[ticket.name]
    bench.turns()
    ((_, error),) = ends(call)
    assert isinstance(error, JobLostError)


def test_a_network_that_comes_back(bench):
    call, ticket = bench.there(len, "ab")
    bench.place.poll_error = OSError("unreachable")
    for _ in range(10):
        bench.turn(5)
    bench.place.poll_error = None
    bench.answer(ticket)
    bench.turns()
    assert ends(call) == [("succeeded", 2)]


def test_a_network_that_does_not_come_back(bench):
    """The error promises nothing that lies where nobody can reach it."""
    call, ticket = bench.there(len, "ab")
    bench.papers.news = lambda: (_ for _ in ()).throw(OSError("unreachable"))
    bench.place.poll_error = OSError("unreachable")
    bench.turns(10)
    ((_, error),) = ends(call)
    assert isinstance(error, JobError)
    assert error.resource == ticket.name
    assert "unreachable; it is told to end when the program ends" in str(error)
    bench.desk.close()
    assert bench.place.deleted == [(ticket.name, False)]
    assert not list(bench.store.list(""))


DENIED = JobError("access denied", node="x", place="shelf")


def test_a_refusal_that_passes(bench, caplog):
    """Permissions spread, credentials are renewed: one warning says what is waited for."""
    jobs = [bench.there(len, "ab") for _ in range(20)]
    bench.place.poll_error = DENIED
    bench.turns(12, 10.0)
    assert not [call for call, _ in jobs if call.ends()]
    (warning,) = caplog.records
    assert "access denied; it is asked again for 120 s" in warning.getMessage()
    bench.place.poll_error = None
    bench.turns(4)
    bench.place.poll_error = DENIED  # which is another one
    bench.turns(2, 10.0)
    for _, ticket in jobs:
        bench.answer(ticket)
    bench.turns(10, 10.0)
    assert [ends(call) for call, _ in jobs] == [[("succeeded", 2)]] * 20
    assert len(caplog.records) == 2


def test_answers_are_fetched_while_the_place_refuses(bench):
    """And at the very last, when the others are given up."""
    (first, one), (last, two), (lost, _) = [bench.there(len, "ab") for _ in range(3)]
    bench.place.poll_error = DENIED
    bench.turn(20.0)
    bench.answer(one)
    bench.turns(2, 20.0)
    assert ends(first) == [("succeeded", 2)]
    while not lost.ends():
        if not bench.desk._inquiry._asks_place:
            # Now the place's turn has come.
            bench.answer(two)
        bench.turn(59.0)
    bench.turn()
    assert ends(last) == [("succeeded", 2)]
    ((_, error),) = ends(lost)
    assert "access denied" in str(error)


def test_jobs_to_come_have_a_time_of_their_own(bench):
    bench.place.poll_error = DENIED
    first, _ = bench.there()
    while not first.ends():
        bench.turn(60.0)
    second, ticket = bench.there(len, "ab")
    bench.turns(2, 20.0)
    assert not second.ends()
    bench.answer(ticket)
    bench.turns(2, 30.0)
    assert ends(second) == [("succeeded", 2)]


def test_a_store_that_refuses_is_no_better_for_a_place_that_answers(bench):
    """Each has a time of its own."""
    call, _ = bench.there()
    bench.papers.news = lambda: (_ for _ in ()).throw(DENIED)
    bench.turns(10)
    ((_, error),) = ends(call)
    assert "access denied" in str(error)


@pytest.mark.parametrize("denied", [True, False])
def test_jobs_that_nobody_asks_after_are_ended_at_the_close(bench, denied, caplog):
    """Once more; where that is refused, one warning says what may still run."""
    jobs = [bench.there() for _ in range(6)]
    error = JobError("credentials have expired", node="x", place="shelf")
    bench.place.poll_error = error
    bench.turns(4)
    assert [kind for call, _ in jobs for kind, _ in ends(call)] == ["failed"] * 6
    assert not bench.place.deleted

    def delete(handle, *, over):
        bench.place.deleted.append((handle, over))
        if denied:
            raise error

    bench.place.delete, bench.place.plugin = delete, "shelves"
    caplog.clear()
    bench.desk.close()
    names = [ticket.name for _, ticket in jobs]
    tried = [(name, False) for name in names]
    said = [each.getMessage() for each in caplog.records]
    if denied:
        assert bench.place.deleted == tried[:3]  # then it is clear
        (text,) = said
        assert all(name in text for name in names)
        ends_at = time.gmtime(jobs[-1][1].expires)
        assert f"until {time.strftime('%Y-%m-%d %H:%M:%S', ends_at)} UTC" in text
        assert "credentials have expired" in text
        assert "`entangle sweep shelves`" in text
    else:
        assert sorted(bench.place.deleted) == sorted(tried)
        assert not said


def test_what_could_not_be_ended_is_tried_at_the_close(bench, caplog):
    call, ticket = bench.there()
    refusals = [OSError("access denied")]

    def delete(handle, *, over):
        bench.place.deleted.append((handle, over))
        if refusals:
            raise refusals.pop()

    bench.place.delete = delete
    bench.desk.cancel(call)
    bench.crew.turn()
    assert ends(call) == [("cancelled", "cannot kill")]
    bench.desk.close()
    assert bench.place.deleted == [(ticket.name, False)] * 2
    assert len(caplog.records) == 1


def test_a_job_that_can_not_be_made(bench):
    bench.place.refusals = [ValueError("no such cluster")]
    call, _ = bench.submit(len, ())
    bench.turn()
    ((_, error),) = ends(call)
    assert isinstance(error, JobError)
    assert "no such cluster" in str(error)
    bench.desk.close()
    assert not list(bench.store.list(""))


def test_a_store_that_refuses_for_a_while(bench):
    call, ticket = bench.there(len, "ab")
    bench.answer(ticket)
    bench.store.refusals = 4
    bench.turns(20, 20.0)
    assert ends(call) == [("succeeded", 2)]


def test_a_store_that_refuses_for_good(bench):
    call, ticket = bench.there(len, "ab")
    data = bench.answered(ticket)
    bench.answer(ticket, data)
    bench.store.refusals = 1000
    bench.turns(20, 60.0)
    ((_, error),) = ends(call)
    assert "503 Slow Down" in str(error)
    key = bench.papers.answer_key(ticket)
    assert bench.store.where(key) in str(error)
    bench.desk.close()
    bench.store.refusals = 0
    assert bench.store.get(key) == data


def test_credentials_that_are_renewed_while_an_answer_is_there(bench, caplog):
    refusals = [DENIED] * 8
    get = bench.store.get

    def refusing(key):
        if refusals:
            raise refusals.pop()
        return get(key)

    bench.store.get = refusing
    call, ticket = bench.there(len, "ab")
    bench.answer(ticket)
    while refusals:
        assert not call.ends()
        bench.turn(5.0)
    bench.turns(8, 5.0)
    assert ends(call) == [("succeeded", 2)]
    (warning,) = caplog.records
    assert "can't be fetched: " in warning.getMessage()


class Poison:
    """Tells when it is unpickled."""

    eaten = False

    def __reduce__(self):
        return setattr, (Poison, "eaten", True)


def poisons(bench, ticket):
    """What somebody may put there who can write, but has not the key."""
    good = bench.answered(ticket)
    body = pickle.dumps(Poison())
    yield body
    yield b""
    yield good[:-1]
    yield good + b"\0"
    yield good[:100] + bytes([good[100] ^ 1]) + good[101:]
    yield good[: -len(body)] + body
    yield bench.answered(ticket, attempt=2)
    yield bench.answered(ticket, job="another")
    yield bench.answered(ticket, run="another")
    yield bench.answered(ticket, key="00" * 32)


@pytest.mark.parametrize("number", range(10))
def test_a_poisoned_answer_is_rejected_unread(bench, number, monkeypatch):
    call, ticket = bench.there(len, "ab")
    poison = list(poisons(bench, ticket))[number]
    bench.answer(ticket, poison)
    monkeypatch.setattr("entangle._worker.codec.loads", lambda *_, **__: 1 / 0)
    bench.turns()
    ((_, error),) = ends(call)
    assert isinstance(error, UntrustedResultError)
    assert error.resource == ticket.name
    assert "rejected unread" in str(error)
    assert not Poison.eaten


def test_nobody_but_the_payload_has_the_key(bench):
    _, ticket = bench.there()
    job = bench.place.jobs[ticket.name]
    key = ticket.run.key.hex()
    assert bench.document(ticket)[0]["key"] == key
    shown = f"{job.payload!r} {job.environment} {job.tags} {job.command} {job}"
    assert key not in shown
    assert len(job.payload) < 4096


def test_tags_say_whose_it_is_and_until_when(bench):
    def odd_name():
        return 1

    odd_name.__qualname__ = "größe <locals> " + 80 * "x"
    _, ticket = bench.there(odd_name)
    tags = bench.place.jobs[ticket.name].tags
    assert set(tags) == {
        *("entangle-run", "entangle-owner", "entangle-expires", "entangle-task")
    }
    for value in tags.values():
        assert 0 < len(value) <= 63
        assert all(c.isascii() and (c.isalnum() or c in "-_.") for c in value)


def test_what_jobs_share_is_uploaded_once(bench):
    shared = b"x" * 1_000_000
    bench.place.hands = 100
    tickets = [bench.submit(len, shared)[1] for _ in range(100)]
    bench.turn()
    assert all(ticket.stage == "there" for ticket in tickets)
    large = [o for o in bench.store.list("entangle/") if o.size >= 1_000_000]
    assert len(large) == 1
    assert bench.store.puts.count(large[0].key) == 1
    for call, ticket in [(t.call, t) for t in tickets[:3]]:
        bench.answer(ticket)
    bench.turns()
    assert ends(tickets[0].call) == [("succeeded", 1_000_000)]


@pytest.mark.parametrize(
    ("stage", "how", "deletes"),
    [("queued", "already done", 0), ("creating", "killed", 1), ("there", "killed", 1)],
)
def test_a_cancel_at_each_stage(bench, stage, how, deletes):
    call, ticket = bench.submit(len, ())
    if stage == "creating":
        bench.desk.round()
    elif stage == "there":
        bench.turn()
    assert ticket.stage == stage
    if stage == "creating":
        bench.place.create, create = None, bench.place.create

        def late(job):
            handle = create(job)
            bench.desk.cancel(call)
            return handle

        bench.place.create = late
        bench.crew.turn()
    else:
        bench.desk.cancel(call)
    bench.turn()
    bench.turns()
    assert ends(call) == [("cancelled", how)]
    assert len(bench.place.deleted) == deletes
    bench.desk.cancel(call)
    assert len(call.ends()) == 1


def test_an_end_that_takes_its_time(bench):
    bench.place.ends_at_once = False
    call, ticket = bench.there()
    bench.desk.cancel(call)
    bench.turn()
    assert not call.ends()
    bench.place.states[ticket.name] = JobState("ended", "stopped by user")
    bench.turns()
    assert ends(call) == [("cancelled", "killed")]


def test_a_place_that_has_not_heard_is_told_again(bench):
    bench.place.ends_at_once = False
    call, ticket = bench.there()
    bench.desk.cancel(call)
    bench.turns(30, 120)
    assert 2 < len(bench.place.deleted) < 15
    assert not call.ends()
    bench.place.ends_at_once = True
    bench.turns(10, 120)
    assert ends(call) == [("cancelled", "killed")]


def test_a_place_that_can_not_end_it(bench):
    call, _ = bench.there()

    def delete(handle, *, over):
        raise OSError("not permitted")

    bench.place.delete = delete
    bench.desk.cancel(call)
    bench.turn()
    assert ends(call) == [("cancelled", "cannot kill")]


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_place_that_is_too_busy_to_end_it(bench, monkeypatch, cancelled):
    """What is not ended costs: it is told again."""
    monkeypatch.setattr("entangle._jobs.clerk.time.sleep", lambda _: None)
    call, ticket = bench.there()
    delete, refusals = bench.place.delete, iter(range(2))

    def throttled(handle, *, over):
        if next(refusals, None) is not None:
            raise PlaceBusyError("Rate exceeded")
        return delete(handle, over=over)

    bench.place.delete = throttled
    if cancelled:
        bench.desk.cancel(call)
    else:
        bench.answer(ticket, b"poison")
    bench.turns(20, 60.0)
    assert bench.place.deleted == [(ticket.handle, False)]
    ((kind, detail),) = ends(call)
    if cancelled:
        assert (kind, detail) == ("cancelled", "killed")
    else:
        assert isinstance(detail, UntrustedResultError)


def test_output_in_whole_lines(bench):
    call, ticket = bench.there(len, "ab")
    printed = [(1, b"on"), (2, b"warn\n"), (1, b"e\ntw"), (1, "ö".encode()[:1])]
    printed += [(1, "ö".encode()[1:])]
    bench.answer(ticket, bench.answered(ticket, printed))
    bench.turns()
    assert call.text("stdout") == "one\ntwö"
    assert call.text("stderr") == "warn\n"
    assert [report.kind for report in call.reports][-1] == "succeeded"
    assert [r.detail for r in call.reports if r.kind == "output"] == [
        ("stderr", "warn\n"),
        ("stdout", "one\ntwö"),
    ]


def test_too_much_output_is_said():
    from entangle._worker.job import Output

    output = Output(most=10)
    for _ in range(3):
        output.take(1, b"12345678")
    assert output.data() == b"1234567812"
    assert output.facts()["left_out"] == 14


def test_a_call_for_another_python_is_sent_again(bench):
    """Once the place's version is known, by source, as a job of its own."""
    from entangle._worker import documents, sealing

    call, ticket = bench.there(lambda text: len(text), "abc")
    facts, _ = bench.document(ticket)
    assert facts["python"] == [*sys.version_info[:2]]
    body = {"kind": "other", "python": [3, 9], "output": [], "left_out": 0}
    about = [facts["run"], facts["job"], facts["attempt"]]
    key = bytes.fromhex(facts["key"])
    bench.answer(ticket, sealing.seal(key, about, documents.write(body, [b""])))
    bench.turns()
    assert bench.place.python == (3, 9)
    (again,) = [name for name in bench.place.jobs if name != ticket.name]
    assert not call.ends()
    assert bench.place.deleted == [(ticket.name, True)]
    ticket.name = again
    assert bench.document(ticket)[0]["python"] == [3, 9]


def test_what_can_not_go_to_another_python_is_said(bench):
    class Local:
        pass

    bench.place.python = (3, 9)
    with pytest.raises(VersionMismatchError, match=r"3\.9"):
        bench.place.start(RecordedCall(len, [Local()]))
