"""Images that are missing, foreign, without a usable Python; packages that are added."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError

import docker_images
import pytest
from docker_kit import image_or_skip, ours
from docker_registry import Index, Registry, make_wheel, serving
from entangle.docker import ImageError, PackagesError, docker
from entangle.docker._packages import BASE, PACKAGES
from life_kit import SOON, program, until, within

from entangle.errors import PlaceError
from entangle.task import gather, shutdown

pytestmark = [pytest.mark.process, pytest.mark.integration]

WRONG = "2.7" if "2.7" in docker_images.pythons() else "3.8"


def one():
    return 1


@pytest.fixture
def task_in(image):
    """Return what makes a task of an image of the tests', with options."""

    def make(name="python", **options):
        return docker(**({"image": image(name), "network": "none"} | options))(
            lambda: 1
        )

    return make


@pytest.fixture
def registry(client):
    """A registry of one image; what was pulled from it is removed."""
    served = Registry(os.urandom(1 << 20))
    with serving(served.answer) as port:
        name = f"127.0.0.1:{port}/some/image"
        served.name = f"{name}:v1"
        yield served
        served.gate.set()
        for found in client.images.list(name):
            client.images.remove(found.id, force=True)


# -- images without a Python that can be used ------------------------------------------


def test_an_image_without_python(task_in):
    with within(5 * SOON), pytest.raises(ImageError, match="has no python3 or python"):
        task_in("pythonless")()()


@pytest.mark.parametrize("version", ["2.7", "3.8"])
def test_an_image_whose_python_is_too_old(client, task_in, version):
    with pytest.raises(PlaceError, match=f"its Python is {version}.*3.9 or newer"):
        task_in(f"python:{version}")()()


def test_an_image_for_another_processor(client, task_in):
    with pytest.raises(ImageError, match="can't run: choose a tag") as caught:
        task_in("foreign")()()
    assert caught.value.image == "entangle-test/foreign:latest"
    with pytest.raises(ImageError, match="not for linux/s390x"):
        task_in("python", platform="linux/s390x", pull="never")()()


def test_an_interpreter_that_is_not_there(task_in):
    odd = "/no such/'python\""
    with pytest.raises(ImageError) as caught:
        task_in(python=odd)()()
    assert f"has no {odd} that can be run" in str(caught.value)


def test_an_interpreter_of_a_path(client, image):
    path = docker_images.pythons()[docker_images.HERE].binary
    assert docker(image=image(), network="none", python=path)(lambda: 1)()() == 1


def test_an_interpreter_that_nobody_may_run(client, task_in):
    with pytest.raises(ImageError, match="the user 65534:65534 may not run"):
        task_in(python="/etc/passwd")()()


# -- what the engine refuses -----------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mounts": {"/no such/folder": "/x"}}, "does not exist.*look at mounts="),
        ({"user": "nosuch"}, "unable to find user nosuch.*look at user="),
        ({"network": "nosuch"}, "network nosuch not found.*docker network ls"),
        ({"consume_gpu": False}, "GPUs to give.*leave consume_gpu="),
        ({"consume_gpu": True}, "GPUs to give"),
        ({"memory": 100}, "look at memory="),
        ({"cpus": 10_000}, "look at cpus="),
        ({"workdir": "/etc/passwd"}, "look at workdir="),
    ],
)
def test_what_the_engine_refuses_comes_with_what_to_do(task_in, options, words):
    with within(5 * SOON), pytest.raises(PlaceError, match=words):
        task_in(**options)()()


# -- pulling ---------------------------------------------------------------------------


def test_an_image_is_pulled_when_it_is_missing(client, registry, caplog):
    """What is pulled here holds no Python: it is the pull that counts."""
    caplog.set_level(logging.INFO, "entangle.docker")
    with pytest.raises(ImageError, match="has no python3"):
        docker(image=registry.name, network="none")(one)()()
    assert client.images.get(registry.name)
    assert f"pulling the image {registry.name}" in caplog.text
    assert f"pulled the image {registry.name} in" in caplog.text


def test_an_image_is_not_pulled_if_it_may_not_be(registry):
    with pytest.raises(ImageError, match="pull='never'"):
        docker(image=registry.name, pull="never")(one)()()
    assert not registry.asked.is_set()


def test_an_image_is_pulled_always_if_asked_for(client, image, registry):
    client.images.get(image("pythonless")).tag(*registry.name.rsplit(":", 1))
    with pytest.raises(ImageError, match="has no python3"):
        docker(image=registry.name, pull="always", network="none")(one)()()
    assert registry.asked.is_set()


@pytest.mark.parametrize(
    ("name", "refuses", "words"),
    [
        ("image:nothing", False, "look at the name and the tag"),
        ("image:v1", True, "it does not exist, or it is private.*docker login 127"),
    ],
)
def test_an_image_that_can_not_be_pulled(registry, name, refuses, words):
    registry.refuses = refuses
    name = registry.name.replace("image:v1", name)
    with within(10 * SOON), pytest.raises(ImageError, match=words):
        docker(image=name)(one)()()


def test_a_registry_that_is_not_there():
    with pytest.raises(ImageError, match="can't reach the registry"):
        docker(image="127.0.0.1:1/nothing")(one)()()


def test_cancelling_ends_a_pull(registry):
    """The engine goes on fetching nothing, and the same image can be asked for again."""
    registry.gate.clear()
    future = docker(image=registry.name)(one)().submit()
    assert registry.asked.wait(20)
    with within(SOON):
        future.cancel()
        with pytest.raises(CancelledError):
            future.result(SOON)
    assert registry.given_up.wait(20)
    registry.gate.set()
    with pytest.raises(ImageError, match="has no python3"):
        docker(image=registry.name)(one)()()


def test_ctrl_c_during_a_pull(registry):
    registry.gate.clear()
    code = f"""
from entangle.docker import docker
print(docker(image={registry.name!r})(abs)(-1)())
"""
    with program(code) as running:
        assert registry.asked.wait(20)
        with within(2 * SOON):
            running.send_signal(signal.SIGINT)
            running.wait(20)
        assert b"KeyboardInterrupt" in running.stderr.read()
    assert registry.given_up.wait(20)


def test_shutdown_ends_a_pull(registry):
    registry.gate.clear()
    future = docker(image=registry.name)(one)().submit()
    assert registry.asked.wait(20)
    with within(2 * SOON):
        shutdown()
    with pytest.raises(CancelledError):
        future.result(SOON)
    assert registry.given_up.wait(20)


# -- packages --------------------------------------------------------------------------


@pytest.fixture
def wheels(client, image, tmp_path, monkeypatch):
    """A folder with a package that pip is to look in, and nowhere else.

    The images that are made are removed.
    """
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ENTANGLE_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "whe els"
    folder.mkdir()
    make_wheel(folder, "tiny_thing", "value = 'tiny'\n")
    make_wheel(
        folder, "big_thing", "from tiny_thing import value\n", requires=["tiny_thing"]
    )
    (tmp_path / "pip.conf").write_text(
        f"[global]\nno-index = true\nfind-links = {folder}\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    before = {found.id for found in client.images.list("entangle/packages")}
    yield folder
    shutdown()
    for found in client.images.list("entangle/packages"):
        if found.id not in before:
            client.images.remove(found.id, force=True)


@pytest.fixture
def with_packages(image):
    """Return what makes a task that needs packages."""

    def make(*packages, name="python", **options):
        def use():
            import big_thing

            return big_thing.value

        place = docker(image=image(name), packages=packages, network="none", **options)
        return place(use)

    return make


def made(client):
    """Return the images with packages that were made."""
    return client.images.list("entangle/packages")


def test_packages_are_added_once(client, wheels, with_packages, image, caplog):
    caplog.set_level(logging.INFO, "entangle.docker")
    before = len(made(client))
    assert with_packages("big-thing")()() == "tiny"
    assert len(made(client)) == before + 1
    assert caplog.text.count("adding big-thing to the image") == 1
    shutdown()
    assert with_packages("big-thing")()() == "tiny"
    assert len(made(client)) == before + 1
    assert caplog.text.count("adding big-thing to the image") == 1
    assert caplog.text.count("added big-thing to the image") == 1


def test_the_image_that_is_made_runs_as_its_base_does(client, wheels, image):
    """Nothing of the making is in it: no labels of a container, no program, no user."""
    place = docker(image=image("user"), packages=["tiny-thing"], network="none")
    assert place(lambda: __import__("os").getuid())()() == 1234
    base = client.images.get(image("user"))
    (derived,) = (found for found in made(client) if found.labels.get(BASE) == base.id)
    config, wanted = derived.attrs["Config"], base.attrs["Config"]
    for name in ("User", "Env", "Cmd", "WorkingDir"):
        assert config[name] == wanted[name]
    assert not config["Entrypoint"]
    assert derived.labels[PACKAGES] == "tiny-thing"
    told = {name: value for name, value in derived.labels.items() if value}
    assert told.keys() - base.labels.keys() == {PACKAGES, BASE}


def test_two_threads_want_the_same_image(client, wheels, with_packages, caplog):
    caplog.set_level(logging.INFO, "entangle.docker")
    tasks = [with_packages("big-thing", environment={"N": str(n)}) for n in range(3)]
    assert gather(*(task() for task in tasks))() == ["tiny"] * 3
    assert caplog.text.count("adding big-thing to the image") == 1


def test_two_programs_want_the_same_image(client, wheels, image):
    code = f"""
import logging
logging.basicConfig(level=logging.INFO)
from entangle.docker import docker
place = docker(image={image()!r}, packages=["big-thing"], network="none")
print(place(lambda: __import__("big_thing").value)()())
"""
    with program(code) as first, program(code) as second:
        for running in (first, second):
            assert running.wait(60) == 0, running.stderr.read().decode()
            assert running.stdout.read() == b"tiny\n"
        said = first.stderr.read() + second.stderr.read()
    assert said.count(b"adding big-thing") == 1


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        (["no-such-package-at-all"], "No matching distribution"),
        (['it\'s a "name" with spaces'], "(?s)can't install it's.*Invalid requirement"),
    ],
)
def test_packages_that_can_not_be_had(client, wheels, image, packages, words):
    before = len(made(client))
    place = docker(image=image(), packages=packages, network="none")
    with pytest.raises(PackagesError, match=words) as caught:
        place(one)()()
    assert caught.value.packages == tuple(packages)
    assert len(made(client)) == before


def test_an_image_without_pip(client, wheels, image, tmp_path):
    """Neither has the interpreter anything to make one of."""
    container = client.containers.create(
        image(),
        ["rm", "-rf", docker_images.pythons()[docker_images.HERE].site + "/pip"],
    )
    container.start()
    container.wait()
    container.commit("entangle-test/pipless")
    container.remove()
    try:
        place = docker(image="entangle-test/pipless", packages=["x"], network="none")
        with pytest.raises(PackagesError, match="has no pip"):
            place(one)()()
        pythonless = docker(image=image("pythonless"), packages=["x"])
        with pytest.raises(PackagesError, match="has no python3 or python"):
            pythonless(one)()()
    finally:
        client.images.remove("entangle-test/pipless", force=True)


def test_an_index_with_a_password_leaves_nothing_of_it(
    client, wheels, image, monkeypatch
):
    """It is neither in the image, nor in what the engine knows of it, nor told."""
    index = Index(wheels, "user", "s3cr3t-pa55")
    with serving(index.answer) as port:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.delenv("PIP_FIND_LINKS")
        url = f"http://user:s3cr3t-pa55@127.0.0.1:{port}/simple/"
        monkeypatch.setenv("PIP_INDEX_URL", url)
        place = docker(image=image(), packages=["big-thing"], network="none")

        @place
        def use():
            import os
            import subprocess

            import big_thing

            found = subprocess.run(
                ["grep", "-rl", "s3cr3t-pa55", "/root", "/etc", "/run", "/usr", "/tmp"],
                capture_output=True,
                check=False,
                text=True,
            )
            return big_thing.value, found.stdout, "s3cr3t" in str(dict(os.environ))

        assert use()() == ("tiny", "", False)
    assert index.asked == 2
    (derived,) = (f for f in made(client) if f.labels.get(PACKAGES) == "big-thing")
    assert "s3cr3t" not in str(derived.attrs)
    assert "s3cr3t" not in str(derived.history())


def test_a_password_is_not_told_when_pip_fails(client, wheels, image, monkeypatch):
    index = Index(wheels, "user", "right")
    with serving(index.answer) as port:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.delenv("PIP_FIND_LINKS")
        url = f"http://user:s3cr3t-pa55@127.0.0.1:{port}/simple/"
        monkeypatch.setenv("PIP_INDEX_URL", url)
        place = docker(image=image(), packages=["big-thing"], network="none")
        with pytest.raises(PackagesError) as caught:
            place(one)()()
    assert "s3cr3t" not in str(caught.value)


class Stuck(Index):
    """An index that does not answer until it may."""

    def __init__(self, folder):
        super().__init__(folder)
        self.entered = threading.Event()
        self.gate = threading.Event()

    def answer(self, handler):
        self.entered.set()
        self.gate.wait(60)
        handler.give(404)


@pytest.mark.parametrize("how", ["ctrl-c", "kill", "cancel"])
def test_a_build_that_is_not_wanted_any_more(client, wheels, image, monkeypatch, how):
    """Its container is gone soon, no image is made, and nobody waits for it."""
    index = Stuck(wheels)
    before = len(made(client))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS")
    with serving(index.answer) as port:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple/")
        try:
            if how == "cancel":
                place = docker(image=image(), packages=["x"], network="none")
                future = place(one)().submit()
                assert index.entered.wait(30)
                with within(SOON):
                    future.cancel()
                    with pytest.raises(CancelledError):
                        future.result(SOON)
            else:
                code = f"""
from entangle.docker import docker
docker(image={image()!r}, packages=["x"], network="none")(abs)(-1)()
"""
                number = signal.SIGINT if how == "ctrl-c" else signal.SIGKILL
                with program(code) as running:
                    assert index.entered.wait(30)
                    with within(2 * SOON):
                        running.send_signal(number)
                        running.wait(20)
            until(lambda: not working(client))
        finally:
            index.gate.set()
    if how == "kill":
        # It ended by itself; what is left of it is what `sweep` is there for.
        swept = subprocess.run(
            [sys.executable, "-m", "entangle", "sweep", "docker"],
            capture_output=True,
            check=False,
            text=True,
        )
        assert "removed container" in swept.stdout, swept
    assert not ours(client)
    assert len(made(client)) == before


def working(client):
    """Return the containers that run."""
    time.sleep(0.01)
    return [name for name in ours(client).values() if "(Up" in name]


def test_images_of_other_pythons_exist_where_they_can(client):
    """The ones that the tests skip without."""
    assert image_or_skip(client, f"python:{docker_images.HERE}")
