"""Tasks in containers: values, warmth, options, what is safe, any order of decorators."""

import itertools
import os
import re
import sys
from concurrent.futures import CancelledError

import pytest
from docker_kit import ours
from life_kit import SOON, until, within

from entangle.docker import _labels, docker
from entangle.errors import (
    CompositionError,
    ProcessTimeoutException,
    UnmetCapabilityError,
)
from entangle.process import process
from entangle.task import gather, shutdown
from entangle.thread import thread

pytestmark = [pytest.mark.process, pytest.mark.integration]


@pytest.fixture
def place(image):
    """Return the decorator of a warm container without a network."""
    return docker(image=image(), network="none", calls=2)


def by_value(function):
    """Have a function travel by value: nobody finds the modules of tests by name."""
    import types

    code, names = function.__code__, {"__builtins__": __builtins__}
    return types.FunctionType(code, names, function.__name__)


@by_value
def container():
    """Return which container this runs in."""
    import socket

    return socket.gethostname()


@by_value
def status():
    """Return what the kernel says of this process."""
    with open("/proc/self/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def running(client):
    """Return the containers that are there, ours alone."""
    return ours(client)


# -- warm containers -------------------------------------------------------------------


def test_a_graph_across_the_border(place):
    @process
    def one():
        return 1

    @place
    def double(value):
        return 2 * value

    @thread
    def total(values):
        return sum(values)

    assert total([double(one()), double(3), double(double(1))])() == 12


def test_runs_share_a_container_and_end_it_with_the_pool(client, place):
    where = process(place(container))
    first = where()()
    assert where()() == first
    assert gather(where(), where())() == [first, first]
    assert len(running(client)) == 1
    shutdown()
    assert not running(client)
    assert where()() != first


def test_equal_options_are_one_place_and_others_are_not(client, image):
    def make(**options):
        return docker(image=image(), network="none", **options)(container)

    same = [make(environment={"A": "1"}), make(environment={"A": "1"})]
    other = make(environment={"A": "2"})
    names = gather(*(task() for task in same), other())()
    assert len(set(names)) == 2
    shutdown()


def test_an_unused_container_is_removed(client, image):
    where = docker(image=image(), network="none", idle=0.1)(container)
    assert where()()
    until(lambda: not running(client))


def test_several_containers(client, image):
    @docker(image=image(), network="none", containers=2, calls=1)
    def where(seconds):
        import socket
        import time

        time.sleep(seconds)
        return socket.gethostname()

    assert len(set(gather(where(1), where(1))())) == 2
    shutdown()


def test_a_container_for_each_call(client, image):
    """Nothing that one does is to be seen by another; none outlives its call."""

    @docker(image=image(), network="none", fresh=True, containers=2)
    def mark(number):
        import os
        import socket

        found = os.path.exists("/tmp/mark")
        with open("/tmp/mark", "w") as file:
            file.write("x")
        return socket.gethostname(), found

    found = gather(*(mark(n) for n in range(4)))()
    assert len({name for name, _ in found}) == 4
    assert not any(marked for _, marked in found)
    until(lambda: not running(client))


def test_what_a_container_is_labelled_with(client, image):
    """Whose it is, what it was made for, until when."""

    def body():
        return 1

    body.__name__ = body.__qualname__ = 'it\'s a "task"'
    assert docker(image=image(), network="none")(body)()() == 1
    (found,) = client.api.containers(filters={"id": [*ours(client)]})
    labels = found["Labels"]
    assert labels[_labels.TASK] == body.__name__
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", labels[_labels.RUN])
    assert labels[_labels.CALLER] == _labels.caller_here()
    assert float(labels[_labels.EXPIRES]) > float(labels[_labels.CREATED])
    assert labels[_labels.FOLDER].endswith("/door")
    shutdown()


def test_nothing_is_left_on_the_disk_here(place):
    """Not even while a container runs: the folder is gone as soon as it connected."""
    import tempfile

    assert place(container)()()
    assert not [n for n in os.listdir(tempfile.gettempdir()) if "docker" in n]


# -- what is safe ----------------------------------------------------------------------


def test_processes_are_nobody_and_can_do_nothing(place):
    found = place(status)()()
    assert found["Uid"].split() == ["65534"] * 4
    assert found["Gid"].split() == ["65534"] * 4
    assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == 0
    assert found["NoNewPrivs"].strip() == "1"


def test_root_is_not_much_either(image):
    found = docker(image=image(), network="none", user="root")(status)()()
    assert found["Uid"].split() == ["0"] * 4
    assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == 0
    assert found["NoNewPrivs"].strip() == "1"


def test_nothing_of_this_machine_is_inside(place, monkeypatch):
    """Neither its files nor its variables; the folder of the socket alone is mounted."""
    monkeypatch.setenv("A_SECRET_OF_THE_HOST", "s3cret")

    @place
    def look():
        import os

        with open("/proc/self/mountinfo") as file:
            mounted = {line.split()[4] for line in file}
        return mounted, dict(os.environ), os.path.exists("/run/entangle/worker")

    mounted, environment, socket_there = look()()
    # What Docker itself mounts into every container.
    usual = ("/proc", "/sys", "/dev")
    rest = {path for path in mounted if not path.startswith(usual)} - {"/"}
    assert rest == {
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/run/entangle",
        "/usr/sbin/docker-init",
    } - ({"/usr/sbin/docker-init"} - rest) | (rest & {"/sbin/docker-init"})
    assert "s3cret" not in str(environment)
    assert environment["HOME"] == "/tmp"
    assert not socket_there, "a second door"


def test_no_network(place):
    @place
    def interfaces():
        import socket

        return [name for _, name in socket.if_nameindex()]

    assert interfaces()() == ["lo"]


# -- options ---------------------------------------------------------------------------


def test_what_is_asked_for_is_there(image, tmp_path):
    source = tmp_path / 'it\'s a "dir"'
    source.mkdir()
    (source / "in.txt").write_text("hello")
    out = tmp_path / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    tmp_path.chmod(0o755)

    @docker(
        image=image(),
        network="none",
        mounts={str(source): "/in put", str(out): "/out:rw"},
        environment={"GREETING": "good 'day' \"all\""},
        user="1234:5678",
        workdir="/usr/local",
        memory="300m",
        cpus=0.5,
        shm_size="1m",
        tmpfs={"/scratch": "2m"},
        read_only=True,
    )
    def look():
        import os

        def size(path):
            found = os.statvfs(path)
            return found.f_blocks * found.f_frsize

        def refused(path):
            try:
                open(path, "w").close()
            except OSError as error:
                return error.strerror
            return "it could be written"

        with open("/in put/in.txt") as file:
            text = file.read()
        with open("/out/out.txt", "w") as file:
            file.write(text.upper())
        return {
            "text": text,
            "environment": os.environ["GREETING"],
            "user": (os.getuid(), os.getgid()),
            "cwd": os.getcwd(),
            "shm": size("/dev/shm"),
            "scratch": size("/scratch"),
            "root": refused("/x"),
            "mount": refused("/in put/x"),
        }

    found = look()()
    read_only = "Read-only file system"
    assert found == {
        "text": "hello",
        "environment": "good 'day' \"all\"",
        "user": (1234, 5678),
        "cwd": "/usr/local",
        "shm": 1 << 20,
        "scratch": 2 << 20,
        "root": read_only,
        "mount": read_only,
    }
    assert (out / "out.txt").read_text() == "HELLO"


def test_options_of_processes(place):
    """``env=``, ``cwd=`` and ``fresh=`` hold inside."""

    @process(env={"A": "1"}, cwd="/usr", fresh=True)
    @place
    def look():
        import os

        return os.environ["A"], os.getcwd(), os.getpid()

    first, second = look()(), look()()
    assert first[:2] == ("1", "/usr")
    assert first[2] != second[2]


def test_a_shell_less_image_whose_root_is_read_only(image):
    where = docker(image=image("shellless"), network="none", read_only=True)
    assert where(lambda: sys.version_info[:2])()() == sys.version_info[:2]


def test_an_entry_point_that_talks(image, capfd):
    where = docker(image=image("noisy"), network="none")
    assert where(lambda: print("task") or 1)()() == 1
    shutdown()
    assert capfd.readouterr() == ("task\n", "")


def test_an_entry_point_that_is_left_out(image):
    where = docker(image=image("noisy"), network="none", entrypoint=False)
    assert where(container)()()


def test_the_user_of_an_image(image):
    where = docker(image=image("user"), network="none")
    assert where(lambda: os.getuid())()() == 1234


def test_a_volume(client, image):
    name = f"entangle-test-{os.getpid()}"
    volume = client.volumes.create(name)
    try:

        @docker(image=image(), network="none", mounts={name: "/v:rw"}, user="root")
        def write(text):
            with open("/v/file", "a+") as file:
                file.write(text)
                file.seek(0)
                return file.read()

        assert write("a")() == "a"
        shutdown()
        assert write("b")() == "ab"
        shutdown()
    finally:
        volume.remove()


def test_output_arrives_whole_and_live(place, capfd):
    @place
    def talk():
        import os
        import sys

        print("out", "line")
        print("err line", file=sys.stderr)
        os.write(1, b"from C\n")

    talk()()
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["from C", "out line"]
    assert err == "err line\n"


def test_the_users_own_modules_travel(place, tmp_path, monkeypatch):
    (tmp_path / "my_own_module.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(tmp_path)

    @place
    def ask():
        import my_own_module

        return my_own_module.answer()

    assert ask()() == 42
    sys.modules.pop("my_own_module", None)


# -- decorators in any order -----------------------------------------------------------


def test_any_order_of_decorators_means_the_same(image):
    def body(value):
        return value + 1

    layers = [
        process,
        docker(image=image(), network="none"),
        process(timeout=30),
        process(retry=2),
        process(cache=True, version="1"),
    ]
    specs = set()
    for order in itertools.permutations(layers):
        made = body
        for layer in order:
            made = layer(made)
        specs.add(made.options)
    assert len(specs) == 1
    assert made(1)() == 2


def test_a_retry_in_a_container(place, tmp_path):
    @process(retry=2)
    @place
    def flaky():
        import os

        # A worker of its own each time: the first two die.
        path = "/tmp/flaky"
        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) < 3:
            os._exit(7)
        os.remove(path)
        return "third"

    assert flaky()() == "third"


def test_a_timeout_ends_the_body_and_what_it_started(place):
    @process(timeout=0.3)
    @place
    def stuck():
        import subprocess

        subprocess.run(["sleep", "1000"], check=False)

    @place
    def sleepers():
        import os

        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/cmdline", "rb") as file:
                        found.append(file.read())
                except OSError:
                    pass
        return sum(b"1000" in line for line in found)

    assert sleepers()() == 0
    with pytest.raises(ProcessTimeoutException):
        stuck()()
    assert sleepers()() == 0


def test_a_value_that_is_kept_starts_no_container(client, image, tmp_path, monkeypatch):
    monkeypatch.setenv("ENTANGLE_CACHE_DIR", str(tmp_path / "cache"))
    keep = process(cache=True, version="1")(docker(image=image(), network="none")(abs))
    assert keep(-3)() == 3
    shutdown()
    assert keep(-3)() == 3
    assert not running(client)


@pytest.mark.parametrize("other", [thread, process(shared_memory=True)])
def test_what_does_not_go_with_it(image, other):
    def body(smm=None, sm=None):
        pass

    made = docker(image=image(), network="none")
    with pytest.raises((CompositionError, UnmetCapabilityError)):
        other(made(body))


def test_two_places(image):
    with pytest.raises(CompositionError, match="docker"):
        docker(image=image())(docker(image="python:3.12")(len))


def test_the_same_program_without_docker(client, place, monkeypatch):
    monkeypatch.setenv("ENTANGLE_TARGETS", "docker=local")
    assert place(container)()() == os.uname().nodename
    assert not running(client)


# -- cancelling ------------------------------------------------------------------------


def test_cancelling_ends_a_body_and_keeps_the_container(place, capfd):
    @place
    def stuck():
        import time

        print("begun", flush=True)
        time.sleep(1000)

    where = place(container)
    first = where()()
    future = stuck().submit()
    until(lambda: "begun" in capfd.readouterr().out)
    with within(SOON):
        future.cancel()
        with pytest.raises(CancelledError):
            future.result(SOON)
    assert future.cancelled_how() == "killed"
    assert where()() == first
