"""What all tests of requests share: a server that echoes, an environment of its own."""

import os

import pytest
from http_kit import serving


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """No proxies, certificates or passwords of this machine's."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in {
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
        }:
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def server():
    """A server that answers with what it was asked."""
    with serving() as made:
        yield made
