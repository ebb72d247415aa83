"""The rows of `entangle bench` that requests bring."""

import pytest

from entangle.http._bench import benchmarks
from entangle.task import shutdown

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def no_pool():
    """The benchmark opens and closes the pool by itself."""
    shutdown()


@pytest.mark.parametrize("row", [*benchmarks()], ids=lambda row: row.name)
def test_each_row_is_measured(row):
    """A wrong result would raise; the server is gone when it is over."""
    row.open()
    try:
        assert row.measure(0.01) > 0
    finally:
        row.close()


def test_they_compare():
    works = {(row.work, row.unit, row.beside) for row in benchmarks()}
    assert works == {("requests", "µs/request", "entangle request")}
