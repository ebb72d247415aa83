"""Sources that type checkers accept, with the types that they see; as `accepted`."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, reveal_type

import requests

from entangle.backend import Asked, Rate, Source, source
from entangle.dataflow import dataflow
from entangle.http import RequestError, StatusError, request
from entangle.local import local
from entangle.process import process
from entangle.secrets import Secret, env, file
from entangle.task import gather, task
from entangle.thread import thread
from entangle.workflow import workflow

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path


@process
@request(url="https://example.com/data", method="GET")
def year(data: str) -> int:
    return int(data)


@thread(limit=8, retry=1)
@request(
    url="https://example.com/users/{id}",
    params={"v": 1, "key": env("KEY")},
    headers={"X-Key": file("/run/secrets/key"), "Accept": "application/json"},
    auth=("me", env("PASSWORD")),
    timeout=5.0,
    retries=2,
    as_="json",
    max_bytes=1_000_000,
    rate="10/s",
    session=requests.Session,
    proxies={"https": "http://127.0.0.1:3128"},
    verify="/etc/ssl/ca.pem",
    cert=("/a", "/b"),
)
def user(data: dict[str, Any]) -> list[str]:
    return list(data)


@request(url="https://example.com/turned")
@thread(limit=2)
def turned(data: str) -> set[int]:
    return {len(data)}


@task(cache=True)
@request(url="https://example.com/", method="POST", json={}, auth=env("TOKEN"))
@process(timeout=3)
@local(cpus=1)
def whole(response: requests.Response) -> bytes:
    return response.content


@thread
@request(url="https://example.com/", method="POST", data={"a": "b"})
async def later(data: bytes) -> float:
    return float(data)


@workflow
@request(url="https://example.com/", http_cache=True)
def graph(data: list[int]) -> Any:
    return gather(*[user(id=each) for each in data])


@process
@request(url="https://example.com/")
def stored(path: Path) -> int:
    return path.stat().st_size


@process
@request(url="https://example.com/")
def streamed(chunks: Iterator[bytes]) -> int:
    return sum(map(len, chunks))


class Client:
    @thread
    @request(url="https://example.com/{name}")
    def get(self, data: str) -> str:
        return data


@dataflow
@thread
@request(url="https://example.com/{id}")
def pushed(data: dict[str, int]) -> int:
    return data["n"]


@request(url="https://example.com/{id}")
@dataflow
def pushed_too(data: dict[str, int]) -> int:
    return data["n"]


reveal_type(year(drilldown="Nation", measures=["a"])())  # int
reveal_type(year({"a": 1}))  # Node[int]
reveal_type(user(id=1)())  # list[str]
reveal_type(user.map([1, 2, 3])())  # list[list[str]]
reveal_type(user.map([{"id": 1}], limit=5)())  # list[list[str]]
reveal_type(whole(a=year())())  # bytes
reveal_type(later(1)())  # float
reveal_type(turned(a=1)())  # set[int]
reveal_type(stored()())  # int
reveal_type(streamed()())  # int
reveal_type(Client().get("x")())  # str
reveal_type(year(a=1).after(user(id=1))())  # int
reveal_type(gather(year(), later())())  # list[int | float]
reveal_type(pushed())  # Flow
reveal_type(pushed(pushed_too(), k=1))  # Flow
reveal_type(env("TOKEN"))  # Secret
reveal_type(env("TOKEN").value())  # str


async def main() -> None:
    reveal_type(await user(id=1))  # list[str]
    await asyncio.gather(year(), later())


def told(error: RequestError) -> str | None:
    reveal_type(error.status)  # int | None
    return error.body if isinstance(error, StatusError) else error.url


class QuerySource(Source):
    """Asks a database.

    Args:
        query: What.
        password: By which.
    """

    def __init__(self, *, query: str, password: Secret | None = None) -> None:
        self.query = query

    @property
    def rate(self) -> Rate | None:
        return Rate(10, 1.0)

    @contextmanager
    def supply(self, asked: Asked) -> Generator[list[tuple[int, ...]]]:
        yield [(asked.attempt,)]


def asking(*, a: int) -> None: ...


sql = source(QuerySource, name="sql", secrets={"password"}, calls_like=asking)
plain = source(QuerySource)


@process
@sql(query="select 1", password=env("DB"))
def rows(data: list[tuple[int, ...]]) -> int:
    return len(data)


@plain(query="select 2")
def others(data: list[tuple[int, ...]]) -> int:
    return len(data)


reveal_type(rows(a=1)())  # int
reveal_type(others("anything", b=1)())  # int
