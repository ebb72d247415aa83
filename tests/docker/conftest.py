"""What the tests of `entangle-docker` share."""

import pytest
from docker_kit import end_containers, engine_or_skip, image_or_skip, ours


@pytest.fixture(scope="module")
def client():
    """The SDK's client of a real engine."""
    found = engine_or_skip()
    yield found
    found.close()


@pytest.fixture(scope="module")
def image(client):
    """Return the tag of a test image, made when it is first asked for."""
    return lambda name="python": image_or_skip(client, _full(name))


def _full(name):
    import docker_images

    return f"python:{docker_images.HERE}" if name == "python" else name


@pytest.fixture(autouse=True)
def _no_container_left(request):
    """Containers are as before after each module; the warm ones live until then."""
    if "client" not in request.fixturenames:
        yield
        return
    client = request.getfixturevalue("client")
    before = ours(client)
    yield
    end_containers(client, before)
