"""A real Docker Engine for tests: found or skipped, images, a guard for containers."""

import os
import time

import docker_images
import pytest
from entangle.docker import _labels
from leaks import shutdown_pool

GRACE = 10.0


def engine_or_skip():
    """Return a client of the engine that the environment leads to, or skip."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=300)
        client.ping()
    except DockerException as error:
        pytest.skip(f"no Docker Engine can be reached: {error}")
    return client


def image_or_skip(client, name):
    """Return the tag of an image of `docker_images`, made if need be, or skip."""
    try:
        return docker_images.build(client, name)
    except LookupError as error:
        pytest.skip(str(error))


def ours(client):
    """Return the containers that this process, or a program of its tests, has made.

    Others may use the engine at the same time. Programs of the tests are known by
    their folder for temporary files.
    """
    here = os.environ["TMPDIR"]
    found = client.api.containers(all=True, filters={"label": _labels.CALLER})
    return {
        container["Id"]: f"{container['Names'][0]} ({container['Status']})"
        for container in found
        if container["Labels"].get(_labels.CALLER) == _labels.caller_here()
        or container["Labels"].get(_labels.FOLDER, "").startswith(here)
    }


def until_as_before(client, before):
    """Wait until no container is left that was not there before; return those."""
    patience = time.monotonic() + GRACE
    while True:
        left = {key: name for key, name in ours(client).items() if key not in before}
        if not left or time.monotonic() > patience:
            return left
        time.sleep(0.05)


def end_containers(client, before):
    """End the pool, and fail if that leaves containers."""
    shutdown_pool()
    left = until_as_before(client, before)
    for container in left:
        client.api.remove_container(container, force=True)
    assert not left, f"containers are left: {', '.join(left.values())}"
