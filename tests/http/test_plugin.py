"""What the plugin tells: of its libraries, and of traces."""

import json
import subprocess
import sys
from typing import Any

import pytest
import urllib3

import entangle.http
import entangle.run
from entangle.http import request
from entangle.http.plugin import entangle_doctor
from entangle.process import process
from entangle.run import NodeSpan, observe
from entangle.task import gather, shutdown, task
from entangle.thread import thread

pytestmark = pytest.mark.process


def test_the_doctor_says_what_is_there():
    (found,) = entangle_doctor()
    assert found.verdict == "ok"
    assert "requests 2." in found.text
    assert "CacheControl" in found.text


def test_the_doctor_sees_an_overwritten_library(monkeypatch):
    """As niquests' own urllib3 does it."""
    monkeypatch.setattr(urllib3, "__version__", "2.25.904")
    (found,) = entangle_doctor()
    assert found.verdict == "fail"
    assert "2.25.904 is what is imported" in found.text
    assert "urllib3-future" in found.remedy


def test_the_plugin_is_light():
    """Every run that looks for plugins imports it, whether it makes requests or not."""
    code = (
        "import sys, entangle.hooks, entangle.http.plugin\n"
        "print([each for each in ('entangle.backend', 'requests', 'urllib') "
        "if each in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


def test_names_that_are_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'requests'"):
        entangle.http.requests  # noqa: B018 - it is looked up


def test_requests_are_slices_of_their_nodes(server):
    """With method, URL and status; those of an attempt that failed, too."""
    seen = []
    made = thread(request(url=server.url)(str))
    with observe(seen.append):
        made(a=1)()
    shutdown()
    (span,) = [event for event in seen if isinstance(event, NodeSpan)]
    assert span.span == "GET"
    assert span.started <= span.time
    assert span.attributes["url.full"] == f"{server.url}/?a=1"
    assert span.attributes["http.response.status_code"] == 200


def test_requests_carry_the_trace(server, tmp_path):
    """One trace for all of the run, in threads, processes and for places elsewhere."""

    def header(data: dict[str, Any]):
        return data["headers"].get("traceparent")

    asks = request(url=server.url)(header)
    nodes = [thread(asks)(), process(asks)(), task(executor="thread")(asks)()]
    assert gather(*nodes)() == [None] * 3
    with entangle.run.trace(tmp_path / "trace.json"):
        found = gather(*nodes)()
    assert len({each.split("-")[1] for each in found}) == 1
    assert len({each.split("-")[2] for each in found}) == 3
    shutdown()
    text = (tmp_path / "trace.json").read_text()
    assert json.loads(text)
    assert text.count('"url.full"') == 3
