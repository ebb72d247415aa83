"""Mistakes with sources that type checkers find, each on a line of its own."""

from __future__ import annotations

from typing import Any

from entangle.backend import source
from entangle.http import request
from entangle.process import process
from entangle.secrets import env

request(address="https://example.com")  # refused
request(url=5)  # refused
request()  # refused
request(url="http://h", method=1)  # refused
request(url="http://h", as_="xml")  # refused
request(url="http://h", auth="token")  # refused
request(url="http://h", auth=("me", "password"))  # refused
request(url="http://h", timeout="5")  # refused
request(url="http://h", rate=10)  # refused
request(url="http://h", headers=["a"])  # refused
request(url="http://h", retry=2)  # refused
source(dict)  # refused
env(5)  # refused


@process
@request(url="http://h")
def length(data: str) -> int:
    return len(data)


text: str = length()()  # refused
values: list[str] = length.map([{}])()  # refused


def nothing(data: Any) -> None: ...


request(url="http://h")(5)  # refused
