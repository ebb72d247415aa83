"""How containers end: killed, paused, out of memory, with their engine, their caller."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from docker_kit import ours, private_engine
from life_kit import SOON, program, until, within

from entangle.docker import DockerExecutor, EngineError, _labels, docker
from entangle.errors import ProcessTerminatedException, ProcessTimeoutException
from entangle.process import process
from entangle.task import gather, shutdown

pytestmark = [pytest.mark.process, pytest.mark.integration]


@pytest.fixture
def place(image):
    """Return the decorator of a warm container without a network."""
    return docker(image=image(), network="none", calls=2)


@pytest.fixture
def asleep(place, capfd, client):
    """Return a future of a call that sleeps, and its container."""

    @place
    def sleep():
        import time

        print("begun", flush=True)
        time.sleep(1000)

    future = sleep().submit()
    until(lambda: "begun" in capfd.readouterr().out)
    (found,) = ours(client)
    return future, client.containers.get(found)


# -- done to containers ----------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "stop", "remove"])
def test_a_container_that_is_ended(place, asleep, how):
    """Its call fails within a second, and the next call gets another container."""
    future, container = asleep
    if how == "stop":
        container.stop(timeout=0)
    elif how == "remove":
        container.remove(force=True)
    else:
        container.kill()
    with within(SOON), pytest.raises(ProcessTerminatedException) as caught:
        future.result()
    # One that is stopped ends by itself.
    assert how == "stop" or caught.value.signal == signal.SIGKILL
    assert "entangle-test/python" in str(caught.value)
    assert container.name in str(caught.value)
    assert place(lambda: 1)()() == 1


def test_a_container_that_is_killed_and_tried_again(place, client, capfd, tmp_path):
    @process(retry=1)
    @place
    def sleep():
        import time

        print("begun", flush=True)
        time.sleep(1)
        return "awake"

    future = sleep().submit()
    until(lambda: "begun" in capfd.readouterr().out)
    (found,) = ours(client)
    client.containers.get(found).kill()
    assert future.result(20) == "awake"


def test_a_paused_container_goes_on_when_it_is_unpaused(place, client, capfd, caplog):
    @place
    def sleep():
        import time

        print("begun", flush=True)
        time.sleep(0.5)
        return "awake"

    future = sleep().submit()
    until(lambda: "begun" in capfd.readouterr().out)
    (found,) = ours(client)
    container = client.containers.get(found)
    container.pause()
    try:
        until(lambda: "is paused: its calls wait" in caplog.text, SOON)
        with pytest.raises(TimeoutError):
            future.result(1)
    finally:
        container.unpause()
    assert future.result(SOON * 2) == "awake"
    # The engine's events come by another way than the call's value.
    until(lambda: "goes on" in caplog.text, SOON)


def test_a_timeout_in_a_paused_container(place, client, capfd):
    """The container is ended: nobody there answers."""

    @process(timeout=1)
    @place
    def sleep():
        import time

        print("begun", flush=True)
        time.sleep(1000)

    future = sleep().submit()
    until(lambda: "begun" in capfd.readouterr().out)
    (found,) = ours(client)
    client.containers.get(found).pause()
    with within(1 + 2 * SOON), pytest.raises(ProcessTimeoutException):
        future.result()
    until(lambda: found not in ours(client))
    assert place(lambda: 1)()() == 1


def test_memory_runs_out_in_a_body(image):
    where = docker(image=image(), network="none", memory="64m")

    @where
    def eat():
        data = []
        while True:
            data.append(b"x" * 1_000_000)

    with within(10), pytest.raises(ProcessTerminatedException) as caught:
        eat()()
    assert caught.value.out_of_memory
    assert "memory ran out" in str(caught.value)
    assert where(lambda: 1)()() == 1


def test_memory_that_is_too_little_to_begin_with(image):
    where = docker(image=image(), network="none", memory="6m")
    with within(20), pytest.raises(Exception, match="memory") as caught:
        where(lambda: 1)()()
    assert type(caught.value).__module__.startswith("entangle")


def test_the_disk_is_full_inside(image):
    @docker(image=image(), network="none", tmpfs={"/scratch": "1m"})
    def fill():
        with open("/scratch/file", "wb") as file:
            file.write(b"x" * 2_000_000)

    with pytest.raises(OSError, match="No space left on device"):
        fill()()


# -- done by tasks ---------------------------------------------------------------------


def test_a_flood_of_output(place, capfd):
    """100 MB of it arrive whole, and the value after them."""

    @place
    def flood():
        import os

        line = b"x" * 99 + b"\n"
        for _ in range(1000):
            os.write(1, line * 1000)
        return "done"

    with capfd.disabled():
        read, write = os.pipe()
        kept = os.dup(1)
        os.dup2(write, 1)
        os.close(write)
        try:
            counter = subprocess.Popen(["wc", "-c"], stdin=read, stdout=subprocess.PIPE)
            os.close(read)
            sys_stdout, sys.stdout = sys.stdout, os.fdopen(os.dup(1), "w")
            try:
                assert flood()() == "done"
                sys.stdout.flush()
            finally:
                sys.stdout.close()
                sys.stdout = sys_stdout
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        assert int(counter.communicate()[0]) == 100_000_000


def test_binary_and_escapes_on_stdout(place, capfdbinary):
    """They arrive as text that was replaced where it is none; the value is right."""

    @place
    def talk():
        import os

        os.write(1, bytes(range(256)) + b"\n\x1b[31mred\x1b[0m\n")
        return "done"

    assert talk()() == "done"
    shutdown()
    assert b"red" in capfdbinary.readouterr().out


@pytest.mark.parametrize("descriptors", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_task_that_closes_descriptors(place, descriptors):
    @place
    def close(numbers):
        import os

        for number in numbers:
            os.close(number)
        return numbers

    assert close(descriptors)() == descriptors
    assert close(())() == ()


def test_a_task_that_forks_and_exits(place):
    @place
    def fork():
        import os
        import time

        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
        os._exit(3)

    with within(SOON), pytest.raises(ProcessTerminatedException) as caught:
        fork()()
    assert caught.value.exit_code == 3

    @place
    def others():
        import os

        me = os.getpid()
        return [int(n) for n in os.listdir("/proc") if n.isdigit() and int(n) > me]

    until(lambda: not others()())


def test_a_task_whose_child_outlives_it(place):
    @place
    def leave():
        import os
        import time

        pid = os.fork()
        if pid == 0:
            time.sleep(1000)
        return pid

    @place
    def alive(pid):
        import os

        return os.path.exists(f"/proc/{pid}")

    pid = leave()()
    until(lambda: not alive(pid)())


def test_a_task_that_kills_its_host(place):
    """The container is gone then; the error says so, the next call runs."""

    @place
    def kill():
        import os
        import signal
        import time

        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1000)

    with within(2 * SOON), pytest.raises(ProcessTerminatedException) as caught:
        kill()()
    assert "the container entangle-" in str(caught.value)
    assert place(lambda: 1)()() == 1


def test_an_argument_of_a_gigabyte(image):
    """It arrives, and what it takes is given back."""

    @docker(image=image(), network="none", calls=1)
    def size(data):
        return len(data), data[-1]

    data = bytearray(1_000_000_000)
    data[-1] = 7
    assert size(data)() == (len(data), 7)


# -- the caller ------------------------------------------------------------------------

CALLER = """
import sys, time
from entangle.docker import docker
@docker(image={image!r}, network="none")
def body():
    import sys, time
    print("begun", flush=True)
    {deed}
body()()
"""
GREEDY = "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')"


@pytest.mark.parametrize("deed", ["time.sleep(1000)", GREEDY], ids=["asleep", "busy"])
def test_a_caller_that_is_killed_leaves_no_container(client, image, deed):
    """Not even if the body holds the interpreter's lock."""
    before = ours(client)
    with program(CALLER.format(image=image(), deed=deed)) as running:
        assert running.stdout.readline() == b"begun\n"
        (found,) = client.api.containers(
            filters={"label": f"{_labels.TASK}=body", "status": "running"}
        )
        running.kill()
        running.wait()
        until(lambda: gone(client, found["Id"]))
    assert ours(client) == before


def gone(client, container):
    """Tell whether the engine knows nothing of a container any more."""
    from docker.errors import NotFound

    try:
        client.containers.get(container)
    except NotFound:
        return True
    return False


def test_a_child_of_a_killed_caller_keeps_no_container(client, image):
    """Whatever it has inherited: over standard streams, too."""
    code = """
import os, sys, time
from entangle.docker import docker
from entangle.docker._engine import Engine
Engine.local = False
body = docker(image=%r, network="none")(lambda: print("begun", flush=True))
body()()
if os.fork() == 0:
    time.sleep(1000)
print(os.getpid(), flush=True)
time.sleep(1000)
"""
    with program(code % image()) as running:
        assert running.stdout.readline() == b"begun\n"
        assert running.stdout.readline()
        found = [
            name
            for name in client.api.containers(filters={"label": _labels.CALLER})
            if f" {running.pid} " in name["Labels"][_labels.CALLER]
        ]
        child = int(
            Path(f"/proc/{running.pid}/task/{running.pid}/children")
            .read_text()
            .split()[-1]
        )
        try:
            running.kill()
            running.wait()
            until(lambda: gone(client, found[0]["Id"]))
        finally:
            os.kill(child, signal.SIGKILL)


def test_shutdown_that_does_not_wait(client, image):
    shutdown()
    executor = DockerExecutor(image=image(), network="none")
    assert executor.submit(abs, -1).result(20) == 1
    executor.shutdown(wait=False)
    until(lambda: not ours(client))
    until(
        lambda: (
            not [
                thread
                for thread in threading.enumerate()
                if thread.name.startswith("entangle-docker")
            ]
        )
    )


def test_ctrl_c_ends_a_call_and_its_container(client, image):
    with program(CALLER.format(image=image(), deed="time.sleep(1000)")) as running:
        assert running.stdout.readline() == b"begun\n"
        (found,) = client.api.containers(
            filters={"label": f"{_labels.TASK}=body", "status": "running"}
        )
        with within(2 * SOON):
            running.send_signal(signal.SIGINT)
            running.wait(20)
        assert b"KeyboardInterrupt" in running.stderr.read()
    assert gone(client, found["Id"])


def test_sweep_finds_what_a_killed_caller_left(client, image):
    """A container that nobody's end of stream ends: one that never connected."""
    labels = _labels.made_now() | {_labels.CALLER: f"{_labels.machine()} 1 0"}
    left = client.containers.run(
        image(), ["sleep", "1000"], labels=labels, detach=True, network_mode="none"
    )
    kept = client.containers.run(
        image(),
        ["sleep", "1000"],
        labels=_labels.made_now(),
        detach=True,
        network_mode="none",
    )
    try:
        listed = entangle("sweep", "docker", "--dry-run")
        assert f"found container {left.name}" in listed
        assert kept.name not in listed
        assert not gone(client, left.id)
        assert "0 leftovers" in entangle("sweep", "docker", "--older-than", "1000")
        assert f"removed container {left.name}" in entangle("sweep", "docker")
        assert gone(client, left.id)
        assert not gone(client, kept.id)
    finally:
        kept.remove(force=True)


def entangle(*arguments, **variables):
    """Run the command and return what it says."""
    ran = subprocess.run(
        [sys.executable, "-m", "entangle", *arguments],
        capture_output=True,
        check=False,
        env=os.environ | variables,
        text=True,
    )
    return ran.stdout + ran.stderr


# -- the engine ------------------------------------------------------------------------


def test_no_engine(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with within(2 * SOON), pytest.raises(EngineError, match="no Docker Engine answers"):
        docker(image="python:3.12")(lambda: 1)()()


def test_an_engine_that_refuses_this_user(monkeypatch, tmp_path):
    if os.geteuid() == 0:
        # Root may do all; a path through a file is refused to everybody.
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "docker.sock"
        words = "can't be asked|no Docker Engine"
    else:
        path = tmp_path / "docker.sock"
        path.touch(mode=0)
        words = "may not talk to"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with pytest.raises(EngineError, match=words):
        docker(image="python:3.12")(lambda: 1)()()


# What the SDK leaves behind where it can't connect any more.
@pytest.mark.filterwarnings("ignore:.*unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_stops_in_the_middle_of_a_run(image, monkeypatch, how, caplog):
    """The right value, or within a second an error that says so; then the next engine.

    Stopped in good order it ends its containers; killed, these run on without it, and
    end with their streams.
    """
    with private_engine() as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.address)
        name = engine.load("python")
        body = docker(image=name, network="none", calls=2)

        @body
        def sleep(seconds):
            import time

            print("begun", flush=True)
            time.sleep(seconds)
            return "awake"

        assert sleep(0)() == "awake"
        if how == signal.SIGTERM:
            future = sleep(1000).submit()
            time.sleep(0.2)
            engine.stop(how)
            with within(SOON), pytest.raises(ProcessTerminatedException):
                future.result()
        else:
            future = sleep(2).submit()
            time.sleep(0.2)
            engine.stop(how)
            assert future.result(10) == "awake"
        engine.start()
        assert sleep(0)() == "awake"
        shutdown()
        until(lambda: not engine.containers())


def test_many_calls_while_containers_are_killed(place, client):
    """Each ends once: with its value, or as one whose container was killed."""

    @process(retry=5)
    @place
    def nap(number):
        import time

        time.sleep(0.2)
        return number

    node = gather(*(nap(number) for number in range(20)), return_exceptions=True)
    running = node.submit()
    for _ in range(2):
        until(lambda: ours(client))
        time.sleep(0.3)
        for container in ours(client):
            client.api.kill(container)
    assert running.result(60) == list(range(20))
