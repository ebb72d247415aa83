"""Calls in containers whose Python is of another version than the caller's."""

import docker_images
import pytest

from entangle.docker import docker
from entangle.errors import VersionMismatchError
from entangle.task import shutdown

pytestmark = [pytest.mark.process, pytest.mark.integration]

OTHERS = [
    minor
    for minor in ("3.9", "3.10", "3.11", "3.12", "3.13")
    if minor in docker_images.pythons() and minor != docker_images.HERE
]


@pytest.mark.parametrize("minor", OTHERS)
def test_functions_travel_by_source(client, image, minor):
    """With the helpers and plain values that they use; errors come back as themselves."""
    factor = 3

    def times(value: int) -> int:
        return value * factor

    place = docker(image=image(f"python:{minor}"), network="none")

    @place
    def work(value):
        import sys

        if value < 0:
            raise ValueError(f"negative: {value}")
        return times(value), sys.version_info[:2]

    assert work(14)() == (42, tuple(map(int, minor.split("."))))
    with pytest.raises(ValueError, match="negative: -1"):
        work(-1)()
    shutdown()


@pytest.mark.parametrize("minor", OTHERS[:1])
def test_what_can_not_travel_is_refused_before_it_runs(client, image, minor):
    place = docker(image=image(f"python:{minor}"), network="none")
    source = "lambda value: value"
    with pytest.raises(VersionMismatchError):
        place(eval(source))(1)()
    shutdown()


def test_there_is_another_version_where_one_is_installed():
    assert OTHERS or len(docker_images.pythons()) == 1
