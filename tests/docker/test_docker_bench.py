"""The rows of `entangle bench` that containers bring, on a real engine."""

import pytest

from entangle.docker import _bench
from entangle.task import shutdown

pytestmark = [pytest.mark.process, pytest.mark.integration]


@pytest.fixture(autouse=True)
def nothing_known():
    """What is missing is found out once; the benchmark has the pool to itself."""
    shutdown()
    forget()
    yield
    forget()


def forget():
    for known in (_bench._missing, _bench._no_arrays):
        known.cache_clear()


def rows():
    return list(_bench.benchmarks())


def name(row):
    return f"{row.work}: {row.name}"


@pytest.mark.parametrize("row", rows(), ids=name)
def test_each_row_is_measured(client, image, monkeypatch, row):
    del client
    arrays = row.work in {"there", "back"}
    monkeypatch.setenv(_bench.IMAGE, image("numpy") if arrays else image())
    why = row.missing()
    if why:
        pytest.skip(why)
    if row.open is not None:
        row.open()
    try:
        assert row.measure(0.001) > 0
    finally:
        if row.close is not None:
            row.close()


def test_an_image_that_is_not_there(client, monkeypatch):
    del client
    monkeypatch.setenv(_bench.IMAGE, "entangle-test/nothing")
    assert {row.missing() for row in rows()} == {_bench._missing()}
    assert "entangle-test/nothing" in _bench._missing()


def test_an_image_without_arrays(client, image, monkeypatch):
    del client
    monkeypatch.setenv(_bench.IMAGE, image())
    whys = {row.work: row.missing() for row in rows()}
    assert "no numpy" in whys["there"]
    assert not whys["call"] or "command" in whys["call"]


def test_no_engine(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    (why,) = {row.missing() for row in rows()}
    assert "no Docker Engine answers" in why
