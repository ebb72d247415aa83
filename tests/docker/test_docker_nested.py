"""Graphs that tasks in containers run: also in the very container, or the only one."""

import os
import socket
import subprocess
import sys

import pytest
from life_kit import SOON, gone, read_pid

from entangle.errors import ProcessTerminatedException

pytestmark = [pytest.mark.process, pytest.mark.integration]

# A program of its own, whose functions travel by value, as a user's do.
PROGRAM = """
import os, socket, sys, time
from entangle.docker import docker
from entangle.process import process
from entangle.thread import thread

image, path = sys.argv[1:]
place = docker(image=image, network="none", calls=1)

@place
def deep(level):
    return [socket.gethostname(), *deep(level - 1)()] if level else []

@docker(image=image, network="none", fresh=True)
def deep_fresh(level):
    return [socket.gethostname(), *deep_fresh(level - 1)()] if level else []

@process
def host():
    return socket.gethostname()

@place
def mixed():
    futures = [host().submit(), thread(socket.gethostname)().submit()]
    return [socket.gethostname(), *[future.result() for future in futures]]

@process
def stay(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)

@place
def wait(path):
    return stay(path)()
"""


def run(image, folder, code, **variables):
    """Run a program, and return what it prints."""
    file = folder / "program.py"
    file.write_text(PROGRAM + code)
    return subprocess.run(
        [sys.executable, file, image, str(folder / "pid")],
        env=os.environ | variables,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout.split()


def test_as_deep_as_wanted_in_a_container_for_one_call(client, image, tmp_path):
    del client
    names = run(image(), tmp_path, "print(*deep(4)())")
    assert len(names) == 4
    assert len(set(names)) == 1


def test_as_deep_as_wanted_in_containers_for_one_call_each(client, image, tmp_path):
    del client
    names = run(image(), tmp_path, "print(*deep_fresh(3)())")
    assert len(set(names)) == 3


def test_tasks_of_all_kinds(client, image, tmp_path):
    del client
    inside, *here = run(image(), tmp_path, "print(*mixed()())")
    assert here == [socket.gethostname()] * 2
    assert inside not in here


def test_they_end_with_a_container_that_is_killed(client, image, tmp_path):
    """The caller's side of a call ends as soon as the other is gone."""
    code = """
future = wait(path).submit()
input()
try:
    future.result()
except Exception as error:
    print(type(error).__name__)
"""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM + code)
    with subprocess.Popen(
        [sys.executable, file, image(), str(tmp_path / "pid")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        pid = read_pid(tmp_path / "pid", 60)
        (container,) = [
            each
            for each in client.containers.list(filters={"label": "entangle.caller"})
            if f" {running.pid} " in each.labels["entangle.caller"]
        ]
        container.kill()
        assert gone(pid, seconds=SOON)
        out, _ = running.communicate("\n", timeout=60)
    assert out == f"{ProcessTerminatedException.__name__}\n"


def test_a_traceback_has_the_lines_that_are_here(client, image, tmp_path):
    del client
    code = """
def fails(value):
    return 1 + int(value)

try:
    place(fails)("ten")()
except ValueError as error:
    print(*error.__notes__, sep="\\n")
"""
    words = run(image(), tmp_path, code)
    assert words[words.index("+") :][:2] == ["+", "int(value)"]
    assert "^^^^^^^^^^" in words
