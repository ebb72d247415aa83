"""What jobs print: followed in a log, completed by the answer, told once."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs_kit import Bench

from entangle._worker import lines, transport
from entangle.backend import DirectoryStore, JobState
from entangle.errors import EntangleError, PlaceBusyError

PIECES = st.lists(
    st.tuples(
        st.sampled_from([1, 2]), st.binary(max_size=50) | st.text().map(str.encode)
    )
)


@pytest.fixture
def bench(tmp_path):
    made = Bench(DirectoryStore(tmp_path / "store"), output=True)
    yield made
    made.desk.close()


def cut(pieces):
    made = lines.Lines()
    found = [line for stream, data in pieces for line in made.take(stream, data)]
    found += made.rest()
    assert made.count == len(found)
    assert [line.number for line in found] == [*range(1, len(found) + 1)]
    return found


def texts(found, stream):
    return "".join(line.text for line in found if line.stream == stream)


# -- lines -----------------------------------------------------------------------------


@given(PIECES)
def test_nothing_is_lost_in_lines(pieces):
    found = cut(pieces)
    for stream in (1, 2):
        whole = b"".join(data for number, data in pieces if number == stream)
        split = whole.split(b"\n")
        said = [part.decode(errors="replace") for part in split]
        assert texts(found, stream) == "\n".join(said)


@given(PIECES)
def test_a_log_says_lines_as_they_are(pieces):
    for line in cut(pieces):
        (written, rest) = line.written().decode().split("\n")
        assert rest == ""
        again = lines.read(written)
        assert (again.number, again.stream, again.text) == (
            *(line.number, line.stream, line.text),
        )


@pytest.mark.parametrize("size", [8191, 8192, 8193, 16384, 20000, 20001])
@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("step", [1000, 8192, 10**6])
def test_long_lines_are_cut_the_same_however_they_come(size, end, step):
    """And no character is divided."""
    data = ("xä" + "€" * size).encode()[:size].decode(errors="ignore").encode()
    data += end.encode()
    found = cut([(1, data[at : at + step]) for at in range(0, len(data), step)])
    assert [line.text for line in found] == [line.text for line in cut([(1, data)])]
    assert "".join(line.text for line in found) == data.decode()
    assert all(len(line.text.encode()) <= 8192 for line in found)


@pytest.mark.parametrize("text", ["", "Traceback", "stdout x: y", "stdin 1: y"])
def test_what_is_no_line_of_a_call(text):
    assert lines.read(text) is None


# -- following -------------------------------------------------------------------------


def runs(bench, function=len, *args):
    call, ticket = bench.there(function, *args)
    begin(bench, ticket)
    bench.turns(2)
    return call, ticket


def begin(bench, ticket):
    bench.place.states[ticket.name] = JobState("running")
    facts, _ = bench.document(ticket)
    transport.put(facts["started"], b"")


def written(printed):
    """Return the lines of a log, and what the supervisor prints into it."""
    return [line.written().decode().rstrip("\n") for line in cut(printed)]


def outputs(call):
    return [each.detail for each in call.reports if each.kind == "output"]


PRINTED = [(1, b"one\n"), (2, b"warn\n"), (1, b"two\n"), (1, b"end")]


def test_output_is_told_while_a_call_runs(bench):
    call, ticket = runs(bench)
    log = written(PRINTED)
    bench.place.logs[ticket.name] = log[:2]
    bench.turn(60)
    assert outputs(call) == [("stdout", "one\n"), ("stderr", "warn\n")]
    assert ticket.printed.cursor == "after 2"
    # Told again by the log, and in another order: told once, in order.
    bench.place.logs[ticket.name] = log[1:2] + log[3:] + log[2:3]
    bench.turn(60)
    assert outputs(call)[2:] == [("stdout", "two\nend")]
    bench.answer(ticket, bench.answered(ticket, PRINTED))
    bench.turns()
    assert len(outputs(call)) == 3
    assert call.ends()[0].detail == 0


def test_the_answer_has_what_the_log_has_not(bench):
    call, ticket = runs(bench)
    log = written(PRINTED)
    bench.place.logs[ticket.name] = log[:1] + log[2:]
    bench.turn(60)
    assert outputs(call) == [("stdout", "one\n")]
    bench.answer(ticket, bench.answered(ticket, PRINTED))
    bench.turns()
    assert outputs(call) == [
        ("stdout", "one\n"),
        ("stderr", "warn\n"),
        ("stdout", "two\nend"),
    ]
    assert [each.kind for each in call.reports][-1] == "succeeded"


def test_what_was_told_is_not_said_to_be_left_out(bench):
    """The log has no limit, the answer has."""
    from unittest import mock

    from entangle._worker import job

    call, ticket = runs(bench)
    bench.place.logs[ticket.name] = written(PRINTED)
    bench.turn(60)
    with mock.patch.object(job.Output.__init__, "__defaults__", (6,)):
        answer = bench.answered(ticket, PRINTED, {"lines": 4})
    bench.answer(ticket, answer)
    bench.turns()
    assert "".join(text for _, text in outputs(call)) == "one\nwarn\ntwo\nend"


def test_a_job_that_is_lost_has_its_last_lines_told(bench):
    """And what Python or the program has said comes with the error."""
    call, ticket = runs(bench)
    log = written(PRINTED)
    bench.place.logs[ticket.name] = [*log[:1], "python: what a pity", log[2]]
    bench.place.states[ticket.name] = JobState("ended", "gone mad", exit_code=3)
    bench.turns()
    (end,) = call.ends()
    assert outputs(call) == [("stdout", "one\n"), ("stdout", "two\n")], outputs(call)
    assert [each.kind for each in call.reports][-1] == "failed"
    assert end.detail.__notes__ == ["In its log: python: what a pity"]


def test_a_log_that_has_lost_a_line_takes_no_end_of_room(bench):
    call, ticket = runs(bench)
    many = [(1, b"x\n")] * 20_000
    bench.place.logs[ticket.name] = written(many)[1:]
    bench.turn(60)
    assert not outputs(call)
    assert len(ticket.printed._early) == 10_000
    bench.answer(ticket, bench.answered(ticket, many))
    bench.turns()
    assert call.text("stdout") == "x\n" * 20_000


def test_a_job_that_has_not_begun_is_not_followed(bench):
    bench.there()
    bench.turns()
    assert not bench.place.logs_asked


def test_many_jobs_are_followed_by_few_requests(bench):
    tickets = [bench.submit(len, ()) for _ in range(250)]
    while bench.place.jobs.keys() < {ticket.name for _, ticket in tickets}:
        bench.turn()
    for _, ticket in tickets:
        begin(bench, ticket)
    bench.turns(2)
    bench.place.logs_asked.clear()
    bench.turn(120)
    assert bench.place.logs_asked == [100, 100, 50]


def test_nobody_turns_around_while_a_log_is_slow(bench):
    """Whose answer is waited for is not asked again, nor asked after."""
    runs(bench)
    bench.clock.advance(600)
    bench.desk.round()
    assert len(bench.crew.works) == 1
    bench.clock.advance(600)
    bench.desk.round()  # the place itself is asked
    assert bench.desk.round() > 0
    assert len(bench.crew.works) == 1
    bench.crew.turn()
    bench.desk.round()
    assert len(bench.crew.works) == 1


def test_a_log_that_can_not_be_read_is_said_once(bench, caplog):
    call, ticket = runs(bench)
    bench.place.log_error = EntangleError("logs:FilterLogEvents is not allowed")
    with caplog.at_level(logging.WARNING, "entangle"):
        bench.turns(5)
    (record,) = caplog.records
    assert "logs:FilterLogEvents is not allowed" in record.getMessage()
    bench.answer(ticket, bench.answered(ticket, PRINTED))
    bench.turns()
    assert len(outputs(call)) == 3
    assert call.ends()[0].kind == "succeeded"


@pytest.mark.parametrize("error", [PlaceBusyError("slow down"), OSError("network")])
def test_a_log_that_comes_back(bench, caplog, error):
    call, ticket = runs(bench)
    bench.place.log_error = error
    with caplog.at_level(logging.WARNING, "entangle"):
        bench.turns(3)
    assert not caplog.records
    bench.place.log_error = None
    bench.place.logs[ticket.name] = written(PRINTED)
    bench.turn(120)
    assert len(outputs(call)) == 3
    bench.answer(ticket)
    bench.turns()


def test_a_place_that_does_not_follow_numbers_nothing(tmp_path):
    bench = Bench(DirectoryStore(tmp_path / "store"))
    _, ticket = runs(bench)
    assert bench.document(ticket)[0]["numbered"] is False
    assert not bench.place.logs_asked
    bench.answer(ticket)
    bench.turns()
    bench.desk.close()
