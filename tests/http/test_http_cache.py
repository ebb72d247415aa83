"""http_cache=True: responses are kept and used as HTTP allows."""

import email.utils
import os
import time
from pathlib import Path

import pytest
from http_kit import answer, serving

from entangle.errors import CacheDirectoryError
from entangle.http import TooLargeError, request
from entangle.process import process
from entangle.secrets import env
from entangle.thread import thread

pytestmark = pytest.mark.process


def now():
    """Return the time as servers write it."""
    return email.utils.formatdate(usegmt=True)


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """A cache of this test's own."""
    from entangle.task import shutdown

    shutdown()  # sessions know the folder that they were made with
    monkeypatch.setenv("ENTANGLE_CACHE_DIR", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "http"
    shutdown()


def get(server, *, how=thread, **options):
    return how(request(url=server.url, http_cache=True, **options)(text))


def text(data):
    return data


def numbered(**headers):
    """Make a handler that counts, and knows what has not changed."""
    count = iter(range(100))

    def handler(asked, _sock):
        tag = headers.get("ETag")
        if tag and asked.headers.get("if-none-match") == tag:
            return answer(status="304 Not Modified", Date=now(), **headers)
        changed = headers.get("Last_Modified")
        if changed and asked.headers.get("if-modified-since") == changed:
            return answer(status="304 Not Modified", Date=now(), **headers)
        return answer(str(next(count)), Date=now(), **headers)

    return handler


@pytest.mark.parametrize("how", [thread, process])
def test_fresh_ones_are_not_asked_for_again(how):
    """All workers share what is kept; other URLs are other things."""
    with serving(numbered(Cache_Control="max-age=60")) as server:
        made = get(server, how=how)
        assert [made()() for _ in range(5)] == ["0"] * 5
        assert thread(request(url=server.url, http_cache=True)(text))()() == "0"
        assert made(other=1)() == "1"
        assert len(server.asked) == 2


def test_no_store_is_obeyed(folder):
    with serving(numbered(Cache_Control="no-store", ETag='"a"')) as server:
        assert [get(server)()() for _ in range(2)] == ["0", "1"]
    assert not (folder / "responses").exists()


@pytest.mark.parametrize(
    "says",
    [{"ETag": '"a"'}, {"Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}],
    ids=["ETag", "Last-Modified"],
)
def test_what_has_not_changed_is_not_sent_again(says):
    """The server is asked, and says so."""
    with serving(numbered(**says)) as server:
        assert [get(server)()() for _ in range(3)] == ["0"] * 3
        assert len(server.asked) == 3
        first, *others = server.asked
        assert not {"if-none-match", "if-modified-since"} & first.headers.keys()
        for asked in others:
            if "ETag" in says:
                assert asked.headers["if-none-match"] == '"a"'
            else:
                assert asked.headers["if-modified-since"] == says["Last_Modified"]
                assert "if-none-match" not in asked.headers


@pytest.mark.parametrize("tag", [{}, {"ETag": '"a"'}], ids=["plain", "ETag"])
@pytest.mark.parametrize("says", ["no-cache, max-age=60", "max-age=60,No-Cache"])
def test_no_cache_means_to_ask_each_time(says, tag):
    """Whatever age is named beside it, and by whichever answer."""
    with serving(numbered(Cache_Control=says, **tag)) as server:
        found = [get(server)()() for _ in range(3)]
        assert found == (["0"] * 3 if tag else ["0", "1", "2"])
        assert len(server.asked) == 3


@pytest.mark.parametrize("auth", [None, env("TOKEN")], ids=["public", "private"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_what_was_changed_is_forgotten(method, auth, monkeypatch):
    monkeypatch.setenv("TOKEN", "canary")
    with serving(numbered(Cache_Control="max-age=60")) as server:
        made = get(server, auth=auth)
        assert [made()(), made()()] == ["0", "0"]
        assert get(server, method=method, auth=auth)()() == "1"
        assert made()() == "2"


def test_stale_ones_are_asked_for_again():
    old = email.utils.formatdate(time.time() - 1000, usegmt=True)

    def handler(*_):
        return answer(str(next(count)), Date=old, Cache_Control="max-age=10")

    count = iter(range(9))
    with serving(handler) as server:
        assert [get(server)()() for _ in range(2)] == ["0", "1"]


def test_what_is_somebodys_is_kept_apart(folder, monkeypatch):
    """By token, in whichever header; and no token is ever written down."""

    def handler(asked, _sock):
        who = asked.headers.get("authorization") or asked.headers.get("x-key")
        return answer(
            f"{who}",
            Date=now(),
            Cache_Control="max-age=60",
            Vary="Authorization, X-Key",
        )

    with serving(handler) as server:
        for options in ({"auth": env("TOKEN")}, {"headers": {"X-Key": env("TOKEN")}}):
            for token in ("canary-alice", "canary-bob", "canary-alice"):
                monkeypatch.setenv("TOKEN", token)
                assert get(server, **options)()().endswith(token)
        assert get(server)()() == "None"
        assert len(server.asked) == 5
    for path in folder.rglob("*"):
        assert "canary" not in path.name
        if path.is_file():
            head = path.read_bytes()
            assert head.count(b"canary") == _sent(head)


def _sent(head):
    """Count what the server itself has put into a body, which is kept as it is."""
    import msgpack

    if not head.startswith(b"cc=4,"):
        return 0
    return msgpack.loads(head[5:])["response"]["body"].count(b"canary")


def test_limits_hold(folder):
    """What is too large is neither used nor kept."""
    with serving(lambda *_: answer("x" * 1000, Cache_Control="max-age=60")) as server:
        with pytest.raises(TooLargeError):
            get(server, max_bytes=100)()()
    assert not [path for path in folder.rglob("*") if path.stat().st_size > 100]


def test_posts_are_not_kept():
    with serving(numbered(Cache_Control="max-age=60")) as server:
        assert [get(server, method="POST")()() for _ in range(2)] == ["0", "1"]


def test_files_and_chunks_are_kept_too():
    with serving(numbered(Cache_Control="max-age=60")) as server:

        @thread
        @request(url=server.url, http_cache=True)
        def read(path: Path):
            return path.read_text()

        made = thread(request(url=server.url, http_cache=True, as_="chunks")(joined))
        assert [read()(), made()(), read()(), made()()] == ["0"] * 4
        assert len(server.asked) == 1


def joined(chunks):
    return b"".join(chunks).decode()


def test_a_folder_of_others_is_refused(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with (
        serving(numbered()) as server,
        pytest.raises(CacheDirectoryError, match="others could put"),
    ):
        get(server)()()


def test_what_is_old_is_forgotten(folder):
    """A month after it was written, looked at once a day."""
    from entangle.http._http_cache import _forget_old

    with serving(numbered(Cache_Control="max-age=60")) as server:
        get(server)()()
    kept = [path for path in (folder / "responses").rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        os.utime(path, (1, 1))
    _forget_old(folder)
    assert all(path.exists() for path in kept)
    os.utime(folder / "looked-after", (1, 1))
    _forget_old(folder)
    assert not any(path.exists() for path in kept)
