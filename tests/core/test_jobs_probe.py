"""One call finds out which Python a place has; the others wait for it, not for ever."""

import sys
from unittest import mock

import pytest
from jobs_kit import Bench

from entangle._jobs.probe import PATIENCE
from entangle.backend import DirectoryStore, JobState
from entangle.errors import PlaceBusyError, VersionMismatchError
from entangle.testing import RecordedCall

HERE = sys.version_info[:2]
OTHER = (3, HERE[1] + 1)


@pytest.fixture
def bench(tmp_path):
    return Bench(DirectoryStore(tmp_path / "store"))


def bound(number=0):
    """Return a function that goes by value."""
    return lambda: number


def several(bench, count=4):
    made = [bench.submit(bound(number)) for number in range(count)]
    bench.turn()
    return made


def answered_by(bench, ticket, version):
    """Have a job answer that runs in some version of Python."""
    with mock.patch("entangle._worker.calls.sys") as there:
        there.version_info = (*version, 0)
        there.modules, there.meta_path = sys.modules, []
        return bench.answer(ticket)


def stages(made):
    return [ticket.stage for _, ticket in made]


def test_one_is_sent_until_it_has_answered(bench):
    made = several(bench)
    assert stages(made) == ["there", "queued", "queued", "queued"]
    bench.answer(made[0][1])
    bench.turns(4, 5.0)
    assert bench.place.python == HERE
    assert stages(made[1:]) == ["there"] * 3
    assert len(bench.place.jobs) == 4


def test_its_start_is_enough(bench):
    made = several(bench)
    name = f"{bench.papers.session.news()}{made[0][1].name}.started"
    bench.store.put(name, b"")
    bench.turns(3, PATIENCE / 10)
    assert bench.place.python == HERE
    assert stages(made) == ["there"] * 4


def test_the_others_are_encoded_anew_before_they_are_sent(bench):
    made = several(bench)
    answered_by(bench, made[0][1], OTHER)
    bench.turns(4, 5.0)
    assert bench.place.python == OTHER
    # The first, twice; the others once, and for that version.
    assert len(bench.place.jobs) == 5
    for _, ticket in made[1:]:
        facts, _ = bench.document(ticket)
        assert tuple(facts["python"]) == OTHER


def test_what_cannot_go_there_is_refused_without_a_job(bench):
    class Local:
        pass

    made = several(bench, 1)
    call, ticket = bench.submit(lambda: Local())
    bench.turn()
    answered_by(bench, made[0][1], OTHER)
    bench.turns(4, 5.0)
    (end,) = call.ends()
    assert isinstance(end.detail, VersionMismatchError)
    assert ticket.name not in bench.place.jobs


def test_any_that_can_go_to_every_version_does_not_wait(bench):
    several(bench, 2)
    _, ticket = bench.there(len)
    assert ticket.stage == "there"


def test_nobody_waits_whose_start_is_asked_for(bench):
    several(bench, 1)
    call = RecordedCall(bound())
    call.options = call.options._replace(start=5.0)
    with mock.patch("jobs_kit.RecordedCall", return_value=call):
        _, ticket = bench.submit(None)
    bench.turn()
    assert ticket.stage == "there"


def test_they_wait_for_a_minute_all_in_all(bench):
    made = several(bench)
    assert bench.turn() <= PATIENCE
    bench.turn(PATIENCE - 1)
    assert stages(made) == ["there", "queued", "queued", "queued"]
    bench.turn(1)
    assert stages(made) == ["there"] * 4
    assert bench.place.python is None
    _, ticket = bench.there(bound())
    assert ticket.stage == "there"


@pytest.mark.parametrize("how", ["refused", "lost", "cancelled"])
def test_when_it_fails_the_next_is_sent(bench, how):
    if how == "refused":
        bench.place.refusals = [RuntimeError("no")]
    made = several(bench)
    call, ticket = made[0]
    if how == "lost":
        bench.place.states[ticket.name] = JobState("ended", exit_code=1)
        bench.turns(4, 5.0)
    elif how == "cancelled":
        bench.desk.cancel(call)
    bench.turn()
    bench.turn()
    assert call.ends()
    assert stages(made[1:]) == ["there", "queued", "queued"]


def test_when_the_place_is_busy_it_stays_the_one(bench):
    bench.place.refusals = [PlaceBusyError("later")]
    made = several(bench)
    assert not bench.place.jobs
    bench.turn(30.0)
    assert stages(made) == ["there", "queued", "queued", "queued"]
