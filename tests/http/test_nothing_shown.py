"""No secret is ever shown: a canary, looked for in everything that comes out."""

import html
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import textwrap
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from http_kit import answer, echo, serving

from entangle._cache import keys
from entangle.errors import EntangleError
from entangle.http import request
from entangle.process import process
from entangle.run import observe
from entangle.secrets import env
from entangle.task import shutdown, task
from entangle.thread import thread

pytestmark = pytest.mark.process

CANARY = "c4nary/+ü&secret"
FORMS = (
    CANARY,
    "c4nary",
    "YzRuYXJ5",  # in base64, at the begin
    "bWU6YzRuYXJ5",  # with its user before it
)


@pytest.fixture(autouse=True)
def _secret(monkeypatch):
    monkeypatch.setenv("TOKEN", CANARY.replace("ü", "u"))


def clean(text):
    """Check that a text shows nothing."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    for form in FORMS:
        assert form not in text, text
    return True


# Every way to give a secret to a request.
WAYS = {
    "token": {"auth": env("TOKEN")},
    "password": {"auth": ("me", env("TOKEN"))},
    "header": {"headers": {"X-Key": env("TOKEN")}},
    "query": {"params": {"q": env("TOKEN")}},
    "form": {"method": "POST", "data": {"f": env("TOKEN")}},
    "json": {"method": "POST", "json": {"deep": [{"f": env("TOKEN")}]}},
}
REFUSED = "503 Service Unavailable"


def repeats(asked, _sock):
    """Answer with an error that repeats all that was sent."""
    body = f"{asked.target} {asked.headers} {asked.body!r}"
    return answer(body, REFUSED, X_Echo=asked.target)


def hangs_up(*_):
    """Answer with nothing at all."""
    return


def lies(asked, _sock):
    """Send them elsewhere, with all in the URL, for ever."""
    return answer(status="302 Found", Location=asked.target or "/")


@pytest.mark.parametrize("how", [thread, process])
@pytest.mark.parametrize("handler", [repeats, hangs_up, lies])
@pytest.mark.parametrize("way", WAYS)
def test_errors_logs_and_events(way, handler, how, caplog):
    """Messages, notes, causes, tracebacks, pickles; every logger; every event."""
    seen = []
    caplog.set_level(logging.DEBUG)
    with serving(handler) as server, observe(seen.append):
        made = how(
            request(url=server.url, retries=1, retry_after=0.0, **WAYS[way])(text)
        )
        node = made()
        with pytest.raises(EntangleError) as got:
            node()
        assert server.asked
    shutdown()  # observers have been told everything
    error = got.value
    clean("".join(traceback.format_exception(error)))
    clean(pickle.dumps(error))
    while error is not None:
        clean(f"{error!r} {vars(error)!r} {getattr(error, '__notes__', '')}")
        clean(repr(getattr(error, "errors", "")))
        error = error.__cause__ or error.__context__
    clean(caplog.text)
    assert seen
    clean("\n".join(map(repr, seen)))


def test_headers_that_cannot_be_parsed(caplog):
    """The library warns of them, with what they are and how it came to that."""
    caplog.set_level(logging.DEBUG)

    def repeats(asked, sock):
        given = asked.headers["authorization"]
        sock.sendall(f"HTTP/1.1 200 OK\r\nno header {given}\r\n\r\n".encode())

    with serving(repeats) as server:
        thread(request(url=server.url, auth=env("TOKEN"))(text))()()
    assert "Failed to parse headers" in caplog.text
    clean(caplog.text)


# What JSON, a page and the bytes of a body write otherwise than it is.
WRITTEN = 'c4nary"\\/é <&>'


@pytest.mark.parametrize(
    "options",
    [
        {"json": {"f": env("TOKEN")}},
        {"json": env("TOKEN")},
        {"data": {"f": env("TOKEN")}, "files": {"a": b"b"}},
    ],
)
@pytest.mark.parametrize("like", ["sent", "php", "html", "readable"])
def test_however_it_is_written(options, like, monkeypatch):
    """A server may repeat what it was sent by its own rules."""
    monkeypatch.setenv("TOKEN", WRITTEN)
    written = {
        "php": json.dumps(WRITTEN).replace("/", "\\/"),
        "html": html.escape(WRITTEN),
        "readable": json.dumps(WRITTEN, ensure_ascii=False),
    }

    def repeats(asked, _sock):
        return answer(written.get(like, asked.body), status="400 Bad")

    def made(**more):
        return thread(request(url=server.url, method="PUT", **options, **more)(same))

    with serving(repeats) as server:
        with pytest.raises(EntangleError) as got:
            made()()()
        clean(str(got.value))
        clean(got.value.body)
        response = made(as_="response", raise_for_status=False)()()
        assert response.request.body is None


def same(data):
    return data


def text(data):
    return len(data)


@pytest.mark.parametrize("way", WAYS)
def test_plans_reports_and_keys(way):
    """What is shown of a task before it runs, and what stands for its values."""
    made = task(cache=True)(request(url="http://127.0.0.1/", **WAYS[way])(text))
    node = made(a=1)
    clean(f"{made!r} {made.spec!r} {made.options!r} {node!r}")
    clean(f"{node.plan()} {node.plan().tasks!r}")
    clean(json.dumps(node.graph()) + node.to_mermaid())
    clean(pickle.dumps(made.options.source))
    before = keys.of_task(made)
    os.environ["TOKEN"] = "another one"
    assert keys.of_task(made) == before


def test_keys_tell_names_apart():
    """Another name is another key: it may be somebody else."""

    def key(name):
        return keys.of_task(
            task(cache=True)(request(url="http://h/", auth=env(name))(text))
        )

    assert key("TOKEN") == key("TOKEN") != key("OTHER")


class Spy(ThreadPoolExecutor):
    """A place elsewhere that keeps what it is sent."""

    def __init__(self):
        super().__init__(1, "entangle-spy")
        self.sent = []

    def submit(self, fn, /, *args, **kwargs):
        self.sent.append(pickle.dumps((args, kwargs)))
        return super().submit(fn, *args, **kwargs)


@pytest.mark.parametrize("way", WAYS)
def test_payloads_to_other_places(way):
    """The response travels, and what was sent for it does not."""
    with serving(lambda *_: answer("fine")) as server, Spy() as place:
        options = WAYS[way]
        made = request(url=server.url, as_="response", **options)(fields)
        assert task(executor=place)(made)()() == "fine"
        for sent in place.sent:
            clean(sent)
        assert b"fine" in b"".join(place.sent)
        assert any("c4nary" in str(asked) or "YzR" in str(asked) or
                   "bWU6" in str(asked) for asked in server.asked)  # fmt: skip


def fields(response):
    clean(f"{response.url} {response.request.headers} {response.request.body!r}")
    return response.text


def test_redirected_responses_are_clean_too():
    def handler(asked, sock):
        if asked.target.startswith("/there"):
            return answer("fine")
        return answer(status="302 Found", Location=f"/there{asked.target[1:]}")

    with serving(handler) as server:

        @process
        @request(url=server.url, as_="response", params={"q": env("TOKEN")})
        def whole(response): ...

        found = whole()()
    assert len(found.history) == 1
    for each in (found, *found.history):
        clean(f"{each.url} {each.request.url} {each.request.headers}")


def test_broken_secrets():
    """One with a line break in it is not sent, and not shown."""
    for way in ("token", "header"):
        os.environ["TOKEN"] = "c4nary\r\nX-Evil: 1"
        with serving(echo) as server:
            with pytest.raises(EntangleError, match="line break") as got:
                thread(request(url=server.url, **WAYS[way])(text))()()
            assert server.asked == []
        clean("".join(traceback.format_exception(got.value)))


def test_output_of_a_program(tmp_path):
    """A whole program that fails, with the log of everything switched on."""
    with serving(repeats) as server:
        program = tmp_path / "program.py"
        program.write_text(
            textwrap.dedent(
                f"""
                import logging
                from entangle.http import request
                from entangle.process import process
                from entangle.secrets import env

                logging.basicConfig(level=logging.DEBUG)

                @process
                @request(url={server.url!r}, auth=env("TOKEN"), retries=0,
                         params={{"q": env("TOKEN")}})
                def fails(data):
                    return data

                fails()()
                """
            )
        )
        done = subprocess.run(
            [sys.executable, program],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
    assert done.returncode == 1
    assert "StatusError" in done.stderr
    clean(done.stdout + done.stderr)


def test_proxies_with_passwords(monkeypatch):
    """Given by name; the proxy is told, nobody else."""
    with serving() as proxy:
        host = proxy.url.removeprefix("http://")
        monkeypatch.setenv("PROXY", f"http://me:c4nary@{host}")

        @thread
        @request(
            url="http://somewhere.test/", proxies={"http": env("PROXY")}, retries=0
        )
        def asked(data):
            return data

        assert "somewhere.test" in asked()()
        assert "proxy-authorization" in proxy.asked[0].headers
    with pytest.raises(EntangleError) as got:
        asked()()
    clean("".join(traceback.format_exception(got.value)))


def test_the_log_says_what_was_asked(server, caplog):
    """Method, URL, status and time, under entangle.http."""
    caplog.set_level(logging.DEBUG, "entangle.http")
    thread(request(url=server.url, params={"q": env("TOKEN")})(text))(a=1)()
    (record,) = [each for each in caplog.records if each.name == "entangle.http"]
    assert record.getMessage().startswith(f"GET {server.url}/?q=…&a=1: 200, ")
    assert io.StringIO(record.getMessage()).readline()
