"""What calls become: queries, forms, JSON, files, headers; and what functions get."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from http_kit import answer, serving

from entangle.dataflow import dataflow
from entangle.errors import CompositionError, FlowError, OptionError
from entangle.http import BodyError, RequestError, request
from entangle.process import process
from entangle.secrets import env
from entangle.task import gather
from entangle.thread import thread
from entangle.workflow import workflow

pytestmark = pytest.mark.process


def asked(server, **options):
    """Make a task that gives what the server was asked."""

    @thread
    @request(url=server.url + options.pop("path", "/"), **options)
    def echoed(data: dict[str, Any]):
        return data

    return echoed


# -- parameters ----------------------------------------------------------------------


def test_keywords_of_a_get_are_the_query(server):
    """After those that all calls have; lists repeat a name, None leaves it out."""
    task = asked(server, params={"fixed": "1", "a": "0"})
    target = task(a="ü &=", b=[1, 2], c=None)()["target"]
    assert parse_qs(urlsplit(target).query) == {
        "fixed": ["1"],
        "a": ["ü &="],
        "b": ["1", "2"],
    }


def test_head_has_a_query_and_no_body(server):
    @thread
    @request(url=server.url, method="head", as_="response")
    def status(response):
        return response.status_code, response.text

    assert status(a=1)() == (200, "")
    assert server.asked[0][:2] == ("HEAD", "/?a=1")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_keywords_of_others_are_a_form(server, method):
    found = asked(server, method=method, data={"z": "0"})(a=1, b=["x", "y"])()
    assert found["method"] == method
    assert parse_qs(found["body"]) == {"z": ["0"], "a": ["1"], "b": ["x", "y"]}
    assert found["headers"]["content-type"] == "application/x-www-form-urlencoded"


def test_keywords_are_the_keys_of_a_json_object(server):
    task = asked(server, method="POST", json={"fixed": [1, {"deep": True}]})
    found = task(a={"b": None})()
    assert json.loads(found["body"]) == {"fixed": [1, {"deep": True}], "a": {"b": None}}
    assert found["headers"]["content-type"] == "application/json"
    empty = asked(server, method="POST", json={})
    assert json.loads(empty()()["body"]) == {}


def test_a_body_of_its_own(server):
    """Bytes, text, or JSON that is no object: the same for all calls."""
    assert asked(server, method="POST", data=b"raw")()()["body"] == "raw"
    assert asked(server, method="PUT", data="text")()()["body"] == "text"
    assert asked(server, method="POST", json=[1, 2])()()["body"] == "[1, 2]"
    assert asked(server, method="POST")()()["body"] == ""
    for fixed in ({"data": b"raw"}, {"json": [1]}):
        with pytest.raises(TypeError, match="a= has no place"):
            asked(server, method="POST", **fixed)(a=1)


def test_files(server, tmp_path):
    """By path, bytes, or with a name; a keyword of that name replaces one."""
    path = tmp_path / "report.txt"
    path.write_bytes(b"content of a file")
    task = asked(
        server,
        method="POST",
        files={"one": str(path), "two": b"bytes", "three": ("name.csv", b"1,2")},
    )
    body = task(field="value", two=path)()["body"]
    assert body.count("content of a file") == 2
    assert body.count('filename="report.txt"') == 2
    assert 'filename="name.csv"' in body
    assert 'name="field"\r\n\r\nvalue' in body


def test_a_missing_file(server, tmp_path):
    task = asked(server, method="POST", files={"one": str(tmp_path / "none")})
    with pytest.raises(RequestError, match=r"none can't be read: No such file") as got:
        task()()
    assert got.value.retries == 0


def test_headers_and_agent(server):
    found = asked(server, headers={"X-Version": "3"})()()["headers"]
    assert found["x-version"] == "3"
    assert found["user-agent"].startswith("entangle-http/")


def test_templates(server):
    """Filled by name or by the one value; quoted as one piece; the rest is the query."""
    task = asked(server, path="/users/{id}/{part}?v=1")
    assert task(id="a/b?c", part=7, q=1)()["target"] == "/users/a%2Fb%3Fc/7?v=1&q=1"
    one = asked(server, path="/users/{id}")
    assert one("é")()["target"] == "/users/%C3%A9"
    assert one({"id": 4, "q": 2})()["target"] == "/users/4?q=2"
    assert one(5, q=3)()["target"] == "/users/5?q=3"
    assert asked(server, path="/{{x}}")()()["target"] == "/%7Bx%7D"
    two = asked(server, path="/{a}/{b}")
    assert two(1, b=2)()["target"] == "/1/2"


@pytest.mark.parametrize("value", [None, "", ".", "..", {"x": 1}, [1], b"x", "\ud800"])
def test_values_that_have_no_place_in_a_url(server, value):
    """None of them may lead to another place than was meant."""
    with pytest.raises(TypeError, match="can't be filled"):
        asked(server, path="/users/{id}/posts")(id=value)()
    assert server.asked == []


def test_calls_are_checked_where_they_are_written(server):
    task = asked(server, path="/{a}/{b}")
    with pytest.raises(TypeError, match=r"echoed\(\): b= is missing, for the URL"):
        task(a=1)
    with pytest.raises(TypeError, match="one value, or keywords, and got 2"):
        task(1, 2)


def test_values_that_fit_nothing(server):
    """Known when the value is."""
    with pytest.raises(TypeError, match="int has no place.* 0 placeholders"):
        asked(server)(5)()
    with pytest.raises(TypeError, match="2 placeholders"):
        asked(server, path="/{a}/{b}")(5)()
    with pytest.raises(TypeError, match="'id' is missing"):
        asked(server, path="/{id}")({"x": 1})()
    with pytest.raises(TypeError, match="'id' is given twice"):
        asked(server, path="/{id}")({"id": 1}, id=2)()
    with pytest.raises(TypeError, match=r"form can't say a=dict.*json=\{\}"):
        asked(server, method="POST")(a={"b": 1})()
    assert server.asked == []


def test_dataflow(server):
    """A pushed mapping is the parameters, another value fills the placeholder."""

    @dataflow
    def begin(n):
        return n

    @dataflow
    @process
    @request(url=server.url + "/items/{id}")
    def fetched(data: dict[str, Any]):
        return data["target"]

    @dataflow
    @request(url=server.url + "/plain")
    def plain(data: dict[str, Any]):
        return data["target"]

    assert begin(fetched(q=1))(4) == ("/items/4?q=1",)
    assert begin(fetched(), plain(x=1))({"id": 5}) == ("/items/5", "/plain?id=5&x=1")
    with pytest.raises(FlowError) as got:
        begin(plain())(4)
    assert isinstance(got.value.exceptions[0], TypeError)
    assert list(fetched().stream([1, 2])) == [("/items/1",), ("/items/2",)]


def test_beside_other_tasks(server):
    """In one graph, as any task."""

    @process
    @request(url=server.url, method="GET")
    def year(data):
        return int(json.loads(data)["target"].partition("=")[2])

    @process
    def two():
        return 2

    @process
    def add(a, b):
        return a + b

    @workflow
    def whole(value):
        return add(value(), two())

    @workflow
    def inner():
        return add(year(drilldown=two()), two())

    assert whole(inner)() == 6
    assert gather(year.map([{"d": n} for n in range(5)]))() == [[0, 1, 2, 3, 4]]


def test_pages_that_name_the_next():
    """A workflow goes on until there is none."""

    def handler(asked, _sock):
        page = int(asked.target.rpartition("=")[2])
        return answer({"items": [page], "next": page + 1 if page < 4 else None})

    with serving(handler) as server:

        @workflow
        @request(url=server.url)
        def pages(data: dict[str, Any]):
            rest = [] if data["next"] is None else pages(page=data["next"])
            return joined(data["items"], rest)

        @thread
        def joined(items, rest):
            return items + rest

        assert pages(page=1)() == [1, 2, 3, 4]


# -- what functions get --------------------------------------------------------------


class Typed(TypedDict):
    method: str


def test_text_is_the_default(server):
    """Also where the annotation says anything."""

    def plain(data):
        return type(data)

    def text(data: str):
        return type(data)

    def anything(data: Any):
        return type(data)

    for each in (plain, text, anything):
        assert thread(request(url=server.url)(each))()() is str


@pytest.mark.parametrize(
    "hint",
    [dict, dict[str, int], Mapping[str, Any], Typed, dict[str, Any] | None, "dict"],
)
def test_json_by_annotation(server, hint):
    def parsed(data):
        return type(data)

    parsed.__annotations__["data"] = hint
    assert thread(request(url=server.url)(parsed))()() is dict


def test_bytes_and_responses(server):
    def raw(data: bytes):
        return type(data), json.loads(data)["method"]

    def whole(data: requests.Response):
        return data.status_code, data.json()["method"], data.ok, data.headers

    def named(data: "requests.Response"):
        return data.status_code

    def nowhere(data: "nowhere.Response"):
        return data.status_code

    assert thread(request(url=server.url)(raw))()() == (bytes, "GET")
    status, method, ok, headers = thread(request(url=server.url)(whole))()()
    assert (status, method, ok) == (200, "GET", True)
    assert headers["content-type"] == "application/json"
    assert process(request(url=server.url)(named))()() == 200
    assert thread(request(url=server.url)(nowhere))()() == 200


def test_a_file_that_lives_as_long_as_the_function(server, tmp_path):
    """What is moved away stays."""
    seen = []

    @thread
    @request(url=server.url)
    def there(path: Path):
        seen.append(path)
        return json.loads(path.read_bytes())["method"], oct(path.stat().st_mode)

    assert there()() == ("GET", "0o100600")
    assert not seen[0].exists()

    @thread
    @request(url=server.url)
    def moved(path: Path):
        path.rename(tmp_path / "kept")

    moved()()
    assert (tmp_path / "kept").exists()

    @thread
    @request(url=server.url)
    def fails(path: Path):
        seen.append(path)
        raise ValueError("in the body")

    with pytest.raises(ValueError, match="in the body"):
        fails()()
    assert not seen[-1].exists()


def test_chunks():
    """As they come; what is not read is not waited for."""
    body = os.urandom(300_000)
    with serving(lambda *_: answer(body)) as server:

        @thread
        @request(url=server.url)
        def size(chunks: Iterator[bytes]):
            return sum(map(len, chunks))

        @process
        @request(url=server.url)
        def first(chunks: Iterable[bytes]):
            return len(next(iter(chunks)))

        assert size()() == len(body)
        assert 0 < first()() <= 1 << 16


def test_without_a_body_the_value_itself(server):
    @process
    @request(url=server.url, as_="json")
    def parsed(data): ...

    @thread
    @request(url=server.url)
    def text(data):
        """Nothing to do."""

    assert parsed(a=1)()["target"] == "/?a=1"
    assert json.loads(text(a=1)())["target"] == "/?a=1"


def test_as_wins_over_the_annotation(server):
    def parsed(data: bytes):
        return type(data)

    assert thread(request(url=server.url, as_="json")(parsed))()() is dict


def test_annotations_that_say_nothing(server):
    class Odd:
        pass

    def odd(data: Odd):
        return data

    def iterates(data: Iterator[str]):
        return data

    for each in (odd, iterates):
        with pytest.raises(CompositionError, match="add as_= one of 'text'"):
            request(url=server.url)(each)


@pytest.mark.parametrize("kind", ["file", "chunks"])
def test_what_ends_with_the_request_goes_nowhere(server, kind):
    """Neither elsewhere nor back."""

    def dots(data): ...

    async def later(data):
        return data

    def body(data):
        return data

    with pytest.raises(CompositionError, match="ends with the request"):
        request(url=server.url, as_=kind)(dots)
    with pytest.raises(CompositionError, match="ends with the request"):
        thread(request(url=server.url, as_=kind)(later))
    assert request(url=server.url, as_=kind)(body)


def test_charsets():
    """What the headers say; without, UTF-8 or what it looks like."""
    bodies = iter(
        [
            answer(
                "é".encode("latin-1"), Content_Type="text/plain; charset=ISO-8859-1"
            ),
            answer("é".encode("utf-16"), Content_Type='text/plain; charset="utf-16"'),
            answer("é".encode(), Content_Type="text/plain"),
            answer("\ufeffé".encode(), Content_Type="text/plain; charset=utf-8"),
        ]
    )
    with serving(lambda *_: next(bodies)) as server:

        @thread
        @request(url=server.url)
        def text(data):
            return data

        assert [text()() for _ in range(4)] == ["é"] * 4


# -- options -------------------------------------------------------------------------

BAD = {
    "url='ftp": {"url": "ftp://example.com/"},
    "url has file://": {"url": "file:///etc/passwd"},
    "no scheme": {"url": "example.com/x"},
    "names no host": {"url": "http:///x"},
    "no template": {"url": "http://h/{"},
    "no plain name": {"url": "http://h/{a.b}"},
    "placeholder in the host": {"url": "http://h{x}"},
    "before the host": {"url": "http://me:pw@h/"},
    "space or control": {"url": "http://h/\r\nX: 1"},
    "secret written out": {"url": "http://h/?api_key=abc"},
    "is none": {"method": "GE T"},
    "line break": {"headers": {"X-A": "b\r\nX-B: c"}},
    "name of a header": {"headers": {"X A": "b"}},
    "header Authorization is a secret": {"headers": {"Authorization": "Bearer x"}},
    "header X-Api-Key is a secret": {"headers": {"X-Api-Key": "x"}},
    "params\\['token'\\]": {"params": {"token": "x"}},
    "json\\['password'\\]": {"method": "POST", "json": {"password": "x"}},
    "auth is a secret by name": {"auth": ("me", "password")},
    "params must be a mapping": {"params": [("a", "password")]},
    "Authorization must be str": {"headers": {"Authorization": b"password"}},
    "headers must be a mapping": {"headers": "password"},
    "sends no body": {"json": {"a": 1}},
    "so json= means nothing": {"json": {}},
    "either json=": {"method": "POST", "json": {}, "data": {"a": "1"}},
    "mapping of fields": {"method": "POST", "files": {"a": b"b"}, "data": b"raw"},
    "timeout=0": {"timeout": 0},
    "timeout=inf": {"timeout": float("inf")},
    "retries=-1": {"retries": -1},
    "max_bytes=0": {"max_bytes": 0},
    "rate='fast'": {"rate": "fast"},
    "rate='0/s'": {"rate": "0/s"},
    "rate='10/0s'": {"rate": "10/0s"},
    "rate='10/ms'": {"rate": "10/ms"},
    "rate='10/sausages'": {"rate": "10/sausages"},
    "rate='1/1.2.3s'": {"rate": "1/1.2.3s"},
    "as_ must be": {"as_": "xml"},
    "url must be str": {"url": 5},
    "our own session": {"http_cache": True, "session": requests.Session},
    "did you mean 'params'": {"parms": {}},
    "needs url": {},
}


@pytest.mark.parametrize(("words", "options"), BAD.items(), ids=BAD)
def test_options_that_make_no_sense(words, options):
    """Told where they are written; a secret that is written out is not repeated."""
    if words != "needs url":
        options = {"url": "http://127.0.0.1/", **options}
    if words == "url='ftp":
        words = "url has ftp://"
    with pytest.raises(OptionError, match=words) as got:
        request(**options)
    shown = str(got.value).replace("json['password']", "").replace('"PASSWORD"', "")
    assert "password'" not in shown
    assert "pw@" not in shown


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("10/s", 0.1),
        ("60/m", 1.0),
        ("1/hour", 3600),
        ("5/2s", 0.4),
        ("0.5/s", 2.0),
        ("2 / 1.5 mins", 45),
    ],
)
def test_rates(text, interval):
    from entangle.http._source import RequestSource

    rate = RequestSource(url="http://h/", rate=text).rate
    assert rate.interval == pytest.approx(interval)


def test_one_connection_for_many_calls(server, monkeypatch):
    """Each worker thread keeps its own: here there is one."""
    monkeypatch.setenv("ENTANGLE_INLINE", "1")
    asked(server).map([{"n": number} for number in range(10)])()
    assert server.connections == 1
    from entangle._graph import supplied

    supplied.close_all()  # no pool will do it


def test_cookies_do_not_outlive_their_call():
    def handler(asked, _sock):
        return answer({"cookie": asked.headers.get("cookie")}, Set_Cookie="a=1")

    with serving(handler) as server:

        @thread
        @request(url=server.url)
        def cookie(data: dict[str, Any]):
            return data["cookie"]

        assert [cookie()() for _ in range(5)] == [None] * 5


def test_a_session_of_the_users(server):
    """One for each thread, with what it brings."""

    class Mine(requests.Session):
        def __init__(self):
            super().__init__()
            self.headers["X-Mine"] = "yes"

    @thread
    @request(url=server.url, session=Mine, auth=env("TOKEN_OF_TESTS"))
    def found(data: dict[str, Any]):
        return data["headers"]["x-mine"]

    os.environ["TOKEN_OF_TESTS"] = "abcdef"
    try:
        assert found()() == "yes"
    finally:
        del os.environ["TOKEN_OF_TESTS"]


def test_secrets_among_the_arguments_of_calls(server, monkeypatch):
    """They travel by name, into queries, bodies and URLs; kept values are known by it."""
    monkeypatch.setenv("TOKEN_OF_TESTS", "abc/def")
    secret = env("TOKEN_OF_TESTS")
    made = process(request(url=server.url + "/{part}", as_="json")(target_of))
    assert made(part=secret, q=[secret])() == "/abc%2Fdef?q=abc%2Fdef"
    kept = thread(cache="run")(request(url=server.url, as_="json")(target_of))
    assert gather(kept(q=secret), kept(q=secret))() == ["/?q=abc%2Fdef"] * 2
    assert len(server.asked) == 2


def target_of(data):
    return data["target"]


def test_proxies(server):
    """Of the option and of the environment: they are asked for the whole URL."""
    task = request(url="http://somewhere.test/x", proxies={"http": server.url})
    assert thread(task(_target))(a=1)() == "http://somewhere.test/x?a=1"


def test_proxies_of_the_environment(server, monkeypatch):
    """As they are when the request is made."""
    task = thread(request(url="http://somewhere.test/x")(_target))
    monkeypatch.setenv("http_proxy", server.url)
    assert task()() == "http://somewhere.test/x"
    with serving() as other:
        monkeypatch.setenv("http_proxy", other.url)
        assert task()() == "http://somewhere.test/x"
        assert len(other.asked) == 1


def _target(data: dict[str, Any]):
    return data["target"]


@pytest.mark.parametrize("given", [10**12, None, {"a": b"b"}, open])
def test_files_that_are_none(server, given):
    """Above all no number: bytes(n) would be that many zeros."""
    made = asked(server, method="POST", files={"f": b"x"})
    with pytest.raises(RequestError, match="by its path or as bytes, not as"):
        made(f=given)()


def test_a_mapping_in_the_query(server):
    """The library would send its keys alone."""
    with pytest.raises(RequestError, match="query can't say q=dict"):
        asked(server)(q={"a": 1})()


@pytest.mark.parametrize("name", ["self", "cls", "args", "kwargs", "source", "fn"])
def test_parameters_have_any_name(server, name):
    assert asked(server)(**{name: 1})()["target"] == f"/?{name}=1"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_chunks_that_are_read_too_late(chunked, begun):
    """An error, and never the end of a body that seems to be whole."""

    def handler(_asked, sock):
        if not chunked:
            return answer(b"x" * 300_000)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        sock.sendall(b"5\r\nhello\r\n" * 10 + b"0\r\n\r\n")
        return None

    kept = []
    with serving(handler) as server:

        @thread
        @request(url=server.url)
        def keeps(chunks: Iterator[bytes]):
            kept.append(chunks)
            if begun:
                next(chunks)

        keeps()()
        with pytest.raises(BodyError, match="the function has returned"):
            next(kept[0])
