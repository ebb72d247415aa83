"""What is tried again, when, and how often."""

import email.utils
import time

import pytest
from http_kit import answer, serving, turns
from life_kit import within

from entangle.errors import ProcessRetryException
from entangle.http import RequestError, StatusError, request
from entangle.http._failure import retry_after
from entangle.process import process
from entangle.thread import thread

pytestmark = pytest.mark.process

BUSY = "503 Service Unavailable"
MANY = "429 Too Many Requests"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """Pauses that nobody asked for are short here."""
    monkeypatch.setattr("entangle.http._failure._FIRST", 0.001)


def get(url, *, how=thread, **options):
    return how(request(url=url, **options)(text))


def text(data):
    return data


@pytest.mark.parametrize("how", [thread, process])
def test_what_passes_is_tried_again(how):
    handler = turns(answer("", BUSY), answer("", "500 Oops"), answer("fine"))
    with serving(handler) as server:
        assert get(server.url, how=how, retry_after=0.01)()() == "fine"
        assert len(server.asked) == 3


def test_until_it_has_been_enough():
    """The last error is raised, with its attempt; all others are its cause's."""
    with serving(lambda *_: answer("", BUSY)) as server:
        with pytest.raises(StatusError, match=r"attempt 3, ") as got:
            get(server.url, retries=2)()()
        assert len(server.asked) == 3
    cause = got.value.__cause__
    assert isinstance(cause, ProcessRetryException)
    assert [error.attempt for error in cause.errors] == [1, 2, 3]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_may_not_be_repeated_is_not(method):
    """Unless the task itself says so."""
    with serving(turns(answer("", BUSY), answer("fine"))) as server:
        with pytest.raises(StatusError):
            get(server.url, method=method)()()
        assert len(server.asked) == 1
    with serving(turns(answer("", BUSY), answer("fine"))) as server:
        made = thread(retry=1)(request(url=server.url, method=method)(text))
        assert made()() == "fine"


@pytest.mark.parametrize("status", ["400 Bad", "401 Who", "404 Not Found", "501 No"])
def test_what_will_be_the_same_is_not_tried_again(status):
    with serving(lambda *_: answer("", status)) as server:
        with pytest.raises(StatusError):
            get(server.url)()()
        assert len(server.asked) == 1


def test_broken_bodies_are_tried_again():
    """Where the connection broke in the middle, not where the body is wrong."""
    broken = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nab"
    with serving(turns(broken, answer("fine"))) as server:
        assert get(server.url)()() == "fine"
    with serving(lambda *_: answer(b"\xff")) as server:
        with pytest.raises(RequestError):
            get(server.url)()()
        assert len(server.asked) == 1


def test_functions_are_called_once():
    """Only for the response that came."""
    calls = []
    with serving(turns(answer("", BUSY), answer("fine"))) as server:

        @thread
        @request(url=server.url)
        def called(data):
            calls.append(data)
            raise ValueError("in the body")

        with pytest.raises(ValueError, match="in the body"):
            called()()
    assert calls == ["fine"]


@pytest.mark.parametrize("status", [MANY, BUSY])
def test_a_server_may_ask_to_wait(status):
    """And is waited for, holding no worker."""
    with serving(turns(answer("", status, Retry_After="1"), answer("fine"))) as server:
        begun = time.monotonic()
        assert get(server.url)()() == "fine"
        assert time.monotonic() - begun >= 1


@pytest.mark.parametrize(
    "absurd",
    [
        "99999999999",
        "9" * 5000,
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "-5",
        "soon",
        "",
        "1e9",
    ],
)
def test_but_not_for_ever(absurd):
    """Not longer than retry_after says; what makes no sense counts as not asked."""
    handler = turns(answer("", BUSY, Retry_After=absurd), answer("fine"))
    with serving(handler) as server, within(20):
        assert get(server.url, retry_after=0.05)()() == "fine"


def test_reading_what_a_server_asks():
    now = 1_700_000_000.0
    later = email.utils.formatdate(now + 90, usegmt=True)
    assert retry_after("120", now) == 120
    assert retry_after(" 0 ", now) == 0
    assert retry_after(later, now) == 90
    assert retry_after(email.utils.formatdate(now - 90, usegmt=True), now) == 0
    for senseless in ("", "-1", "1.5", "soon", "9" * 13, "Fri, 99 Foo", "१"):
        assert retry_after(senseless, now) is None


def test_pauses_are_of_the_error():
    """Within what the attempt allows; asked ones a little more."""
    from entangle.http._clock import Clock
    from entangle.http._failure import Exchange

    def made(attempt, header=""):
        exchange = Exchange(
            "GET",
            "http://h/",
            attempt=attempt,
            clock=Clock(10),
            retries=3,
            longest=60,
            limit=1,
        )
        return exchange.refused(503, "Busy", {"Retry-After": header}, "").pause

    for attempt in (1, 5, 50, 5000):
        assert 0 <= made(attempt) <= 30
    assert 10 <= made(1, "10") <= 11.1
    assert made(1, "100") == 60


def test_a_rate_counts_attempts_too():
    """Each has to wait for its turn."""
    with serving(turns(answer("", BUSY), answer("fine"))) as server:
        made = get(server.url, rate="10/s")
        begun = time.monotonic()
        assert made.map([{}, {}])() == ["fine", "fine"]
        assert time.monotonic() - begun >= 0.2
        assert len(server.asked) == 3
