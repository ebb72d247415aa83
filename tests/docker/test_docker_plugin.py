"""What the plugin adds: a name, lines of a plan, checks of the doctor."""

import os
import subprocess
import sys

import pytest
from docker_registry import make_wheel
from site_kit import USERS

from entangle._seam.plugins import Plugins
from entangle.docker import _labels, docker
from entangle.task import shutdown, task


@pytest.fixture(autouse=True)
def _plugins_that_are_installed(monkeypatch):
    """Others' tests may have loaded this process's plugins with all switched off."""
    monkeypatch.delenv("ENTANGLE_DISABLE_PLUGINS", raising=False)
    fresh = Plugins()
    for user in USERS:
        monkeypatch.setattr(f"entangle.{user}.plugins", fresh)


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No engine can be reached."""
    address = f"unix://{tmp_path}/none.sock"
    monkeypatch.setenv("DOCKER_HOST", address)
    return address


def command(*arguments):
    """Run `entangle`; return its exit code and all that it says."""
    ran = subprocess.run(
        [sys.executable, "-m", "entangle", *arguments],
        capture_output=True,
        check=False,
        text=True,
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_importing_it_imports_no_sdk_and_starts_nothing():
    code = (
        "import sys, threading; from entangle.docker import docker; "
        "docker(image='x')(len); "
        "print([n for n in ('docker', 'requests', 'urllib3') if n in sys.modules], "
        "threading.active_count())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert ran.stdout == "[] 1\n"


# -- without an engine -----------------------------------------------------------------


def test_a_plan_without_an_engine(nowhere):
    text = str(docker(image="python:3.12")(abs)(-1).plan())
    assert f"no Docker Engine answers at {nowhere}" in text
    assert "docker(image='python:3.12')" in text


def test_the_doctor_without_an_engine(nowhere):
    code, said = command("doctor")
    assert f"warn  docker         no Docker Engine answers at {nowhere}" in said
    assert "install or start one" in said
    assert code == 0


def test_a_sweep_without_an_engine(nowhere):
    code, said = command("sweep", "docker")
    assert code == 1
    assert said.count("entangle_sweep() failed") == 1
    assert "no Docker Engine answers" in said


def test_a_place_by_name_needs_options():
    with pytest.raises(Exception, match="image="):
        task(executor="docker")(abs)(-1)()


def test_it_is_listed():
    _, said = command("plugins")
    assert "docker (entangle-docker 0.1.0" in said
    assert "executor docker" in said


# -- with one --------------------------------------------------------------------------

real = pytest.mark.integration


@real
def test_a_plan_says_what_is_known_of_the_image(client, image):
    text = str(docker(image=image(), memory="1g")(abs)(-1).plan())
    size = client.images.get(image()).attrs["Size"] / 1e6
    assert f"the image {image()} is there ({size:.3g} MB, linux/" in text
    assert f"at {os.environ.get('DOCKER_HOST', 'unix')}" in text
    assert "as user 65534:65534" in text


@real
@pytest.mark.parametrize(
    ("pull", "words"),
    [("missing", "has to be pulled first"), ("never", "is not pulled: pull='never'")],
)
def test_a_plan_of_an_image_that_is_missing(client, pull, words):
    text = str(docker(image="127.0.0.1:1/none", pull=pull)(abs)(-1).plan())
    assert "the image 127.0.0.1:1/none is not at" in text
    assert words in text


@real
@pytest.mark.process
def test_a_plan_of_packages(client, image, tmp_path, monkeypatch):
    monkeypatch.setenv("ENTANGLE_CACHE_DIR", str(tmp_path / "cache"))
    make_wheel(tmp_path, "planned_thing", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    place = docker(image=image(), packages=["planned-thing"], network="none")
    node = place(lambda: 1)()
    assert "planned-thing have to be added to it first" in str(node.plan())
    before = {found.id for found in client.images.list("entangle/packages")}
    try:
        assert node() == 1
        assert "planned-thing were added to it already (" in str(node.plan())
    finally:
        shutdown()
        for found in client.images.list("entangle/packages"):
            if found.id not in before:
                client.images.remove(found.id, force=True)


@real
def test_a_plan_for_another_platform(client, image):
    text = str(docker(image=image(), platform="linux/s390x")(abs)(-1).plan())
    assert "it is not for linux/s390x" in text


@real
def test_the_doctor_with_an_engine(client, image):
    _, said = command("doctor")
    assert f"ok    docker         engine {client.version()['Version']} for" in said
    labels = _labels.made_now() | {_labels.CALLER: f"{_labels.machine()} 1 0"}
    left = client.containers.create(image(), labels=labels)
    try:
        _, said = command("doctor")
        assert "of programs that are gone" in said
        assert "entangle sweep docker" in said
    finally:
        left.remove()
