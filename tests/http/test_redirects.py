"""Redirects: where they lead, and what they don't take along."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from http_kit import answer, echo, serving

from entangle.http import RedirectError, request
from entangle.secrets import env
from entangle.thread import thread

pytestmark = pytest.mark.process

CANARY = "canary-redirected"


@pytest.fixture(autouse=True)
def _secret(monkeypatch):
    monkeypatch.setenv("TOKEN", CANARY)


@pytest.fixture
def elsewhere():
    """Another host, which echoes."""
    with serving(host="127.0.0.2") as server:
        yield server


def sends_to(location, status="302 Found"):
    def handler(asked, sock):
        if asked.target.startswith("/there"):
            return echo(asked)
        return answer(status=status, Location=location)

    return handler


def asks(url, **options):
    @thread
    @request(url=url, retries=0, **options)
    def asked(data: dict[str, Any]):
        return data

    return asked


def test_on_the_same_host_everything_goes_along():
    with serving(sends_to("/there")) as server:
        found = asks(server.url, auth=env("TOKEN"), headers={"X-Key": env("TOKEN")})()()
        assert found["headers"]["authorization"] == f"Bearer {CANARY}"
        assert found["headers"]["x-key"] == CANARY


def test_to_another_host_nothing_secret_goes_along(elsewhere):
    """Neither the token nor what else was given as a secret; the rest does."""
    with serving(sends_to(f"{elsewhere.url}/there")) as server:
        found = asks(
            server.url,
            auth=("me", env("TOKEN")),
            headers={"X-Key": env("TOKEN"), "X-Plain": "yes"},
        )()()
        assert "authorization" in server.asked[0].headers
        assert "authorization" not in found["headers"]
        assert "x-key" not in found["headers"]
        assert found["headers"]["x-plain"] == "yes"
        assert CANARY not in json.dumps(found)


def test_to_another_port_neither(elsewhere):
    with serving() as other, serving(sends_to(f"{other.url}/there")) as server:
        found = asks(server.url, auth=env("TOKEN"))()()
        assert "authorization" not in found["headers"]


def test_a_secret_in_the_body_stays(elsewhere):
    """A redirect that would repeat it is refused; one that drops the body is not."""
    for fixed in ({"data": {"key": env("TOKEN")}}, {"json": {"key": env("TOKEN")}}):
        with (
            serving(sends_to(f"{elsewhere.url}/x", "307 Temporary Redirect")) as server,
            pytest.raises(RedirectError, match="body holds a secret"),
        ):
            asks(server.url, method="POST", **fixed)()()
        with serving(sends_to(f"{elsewhere.url}/x", "303 See Other")) as server:
            found = asks(server.url, method="POST", **fixed)()()
            assert (found["method"], found["body"]) == ("GET", "")
    assert CANARY not in str(elsewhere.asked)


@pytest.mark.parametrize(
    "fixed",
    [
        {"json": {"key": env("TOKEN")}},
        {"data": {"key": env("TOKEN")}, "files": {"a": b"b"}},
    ],
)
def test_a_secret_that_the_body_writes_otherwise_stays(elsewhere, fixed, monkeypatch):
    monkeypatch.setenv("TOKEN", 'c4nary"\\é')
    with (
        serving(sends_to(f"{elsewhere.url}/x", "307 Temporary Redirect")) as server,
        pytest.raises(RedirectError, match="body holds a secret"),
    ):
        asks(server.url, method="POST", **fixed)()()
    assert elsewhere.asked == []


def test_the_shortest_secret_stays_too(elsewhere, monkeypatch):
    """Though it is too short to be looked for in texts."""
    monkeypatch.setenv("TOKEN", "zq7")
    with serving(sends_to(f"{elsewhere.url}/there")) as server:
        made = request(url=server.url, headers={"X-A": env("TOKEN")}, as_="response")
        response = thread(made(same))()()
        assert server.asked[0].headers["x-a"] == "zq7"
        assert "x-a" not in response.json()["headers"]
        assert response.history[0].request.headers["X-A"] == "…"


def same(data):
    return data


def test_what_is_secret_by_its_name_stays_too(elsewhere):
    """In a session of the user's own making, whose values nobody has named."""
    from entangle.http._transport import Session

    def mine():
        session = Session()
        session.headers["X-Api-Key"] = CANARY
        return session

    with serving(sends_to(f"{elsewhere.url}/there")) as server:
        found = asks(server.url, session=mine)()()
        assert "x-api-key" in server.asked[0].headers
        assert "x-api-key" not in found["headers"]


def test_cookies_stay(elsewhere):
    def handler(asked, _sock):
        location = f"{elsewhere.url}/there"
        return answer(status="302 Found", Location=location, Set_Cookie="a=1")

    with serving(handler) as server:
        found = asks(server.url)()()
        assert "cookie" not in found["headers"]


def test_methods_change_as_they_do_everywhere():
    for status, method in (("302 Found", "GET"), ("307 Temporary Redirect", "POST")):
        with serving(sends_to("/there", status)) as server:
            found = asks(server.url, method="POST")(a=1)()
            assert found["method"] == method


def test_the_url_of_messages_is_the_last_one(elsewhere):
    def handler(asked, sock):
        if asked.target == "/gone":
            return answer("", "404 Not Found")
        return answer(status="302 Found", Location="/gone")

    with serving(handler) as server, pytest.raises(Exception, match="/gone: 404"):
        asks(server.url)()()
    assert urlsplit(server.url).port
