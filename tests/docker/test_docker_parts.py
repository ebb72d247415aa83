"""Sizes, labels, names, pip's configuration: what needs no engine."""

import os
import pickle
import socket
import subprocess
import sys

import pytest
from entangle.docker import (
    ContainerError,
    EngineError,
    ImageError,
    PackagesError,
    _images,
    _labels,
    _packages,
    _pip,
)
from entangle.docker._abort import Aborted, Aborts
from entangle.docker._attached import Tail
from entangle.docker._door import CONNECT, NAME, Door
from entangle.docker._sizes import in_bytes, shown

from entangle.errors import EntangleError, PlaceError


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("2k", 2048), ("1.5 MB", 3 << 19), ("3GiB", 3 << 30), (7, 7), (2.5, 2)],
)
def test_sizes(text, size):
    assert in_bytes(text, "memory") == size


@pytest.mark.parametrize("text", ["", "x", "1x", "-1", "1 2", "k", 0, -1, float("nan")])
def test_no_sizes(text):
    with pytest.raises(ValueError, match="memory="):
        in_bytes(text, "memory")


def test_sizes_as_people_read_them():
    assert [shown(n) for n in (0, 999, 73_865_465, 2e12)] == [
        "0 B",
        "999 B",
        "73.9 MB",
        "2 TB",
    ]


def test_errors_pickle_with_what_they_know():
    for error in (
        EngineError("r", engine="e"),
        ImageError("r", image="i", said="s"),
        PackagesError("r", image="i", packages=["p"], said="s"),
        ContainerError("r", image="i", exit_code=3, said="s"),
    ):
        assert isinstance(error, PlaceError)
        assert isinstance(error, EntangleError)
        copy = pickle.loads(pickle.dumps(error))
        assert vars(copy) == vars(error)
        assert str(copy) == str(error)
        assert "no calls can be run in docker: r" in str(copy)


# -- labels ----------------------------------------------------------------------------


def test_a_container_of_this_process_is_not_abandoned():
    labels = _labels.made_now("a run")
    assert not _labels.abandoned(labels, 0)
    assert labels[_labels.RUN] == "a run"
    assert not _labels.abandoned(labels, 1e12), "while its caller lives"


def test_a_container_of_a_process_that_is_gone():
    code = "from entangle.docker import _labels; print(_labels.caller_here())"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    labels = _labels.made_now("") | {_labels.CALLER: ran.stdout.strip()}
    assert _labels.abandoned(labels, 0)


def test_a_container_of_another_machine_is_kept_until_it_expires():
    labels = _labels.made_now("") | {_labels.CALLER: "elsewhere/x 1 2"}
    expires = float(labels[_labels.EXPIRES])
    assert not _labels.abandoned(labels, expires - 1)
    assert _labels.abandoned(labels, expires + 1)


@pytest.mark.parametrize("caller", ["", "x"])
def test_what_somebody_else_has_made_is_left_alone(caller):
    assert not _labels.abandoned({_labels.CALLER: caller}, 1e12)
    assert not _labels.abandoned({}, 1e12)


def test_labels_that_make_no_sense():
    labels = {_labels.CALLER: "x y z", _labels.EXPIRES: "?", _labels.CREATED: "?"}
    assert not _labels.abandoned(labels, 1e12)
    assert _labels.age(labels, 5.0) == 0.0


# -- images ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("python", ("python", "latest")),
        ("python:3.12", ("python", "3.12")),
        ("host:5000/python", ("host:5000/python", "latest")),
        ("host:5000/python:x", ("host:5000/python", "x")),
        ("python@sha256:00", ("python", "sha256:00")),
    ],
)
def test_repository_and_tag(name, parts):
    assert _images.split(name) == parts


@pytest.mark.parametrize(
    ("has", "wanted", "fits"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "amd64", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm/v6", "linux/arm/v7", False),
    ],
)
def test_platforms(has, wanted, fits):
    image = _images.Image("i", "id", has, 1, "", {}, ())
    assert _images.fits(image, wanted) == fits


def test_progress_of_a_pull():
    progress = _images.Progress()
    assert str(progress) == "not begun"
    progress.add({"status": "Pulling from x", "id": "latest"})
    progress.add({"status": "Downloading", "id": "a", "progressDetail": {"current": 1}})
    detail = {"current": 25_000_000, "total": 100_000_000}
    progress.add({"status": "Downloading", "id": "b", "progressDetail": detail})
    assert str(progress) == "25 MB of 100 MB in 2 layers"
    progress.add({"status": "Pull complete", "id": "b"})
    assert str(progress).startswith("100 MB of 100 MB")


def test_the_order_of_packages_makes_no_other_image():
    image = _images.Image("i", "id", "linux/amd64", 1, "", {}, ())
    tags = {
        _packages.tag_of(image, packages, "")
        for packages in (["a", "b"], ["b", "a"], ("a", "b", "a"))
    }
    assert len(tags) == 1
    assert _packages.tag_of(image, ["a"], "") not in tags
    other = image._replace(id="other")
    assert _packages.tag_of(other, ["a", "b"], "") not in tags


# -- pip's configuration ---------------------------------------------------------------


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """No configuration of pip's but the test's."""
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "dirs"))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    return tmp_path


def test_pip_files_and_variables(bare, monkeypatch):
    user = bare / "config" / "pip"
    user.mkdir(parents=True)
    (bare / "ca.pem").write_text("CA")
    (bare / "wheels").mkdir()
    (user / "pip.conf").write_text(
        "[global]\nindex-url = https://a.example\ntimeout = 5\nuser = true\n"
        "[install]\nindex_url = https://b.example\n"
        f"find-links =\n  {bare}/wheels\n  https://c.example/x\n"
    )
    (bare / "pip.conf").write_text(f"[global]\ntimeout = 9\ncert = {bare}/ca.pem\n")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    found = _pip.settings()
    assert found.variables["PIP_INDEX_URL"] == "https://b.example"
    assert found.variables["PIP_TIMEOUT"] == "9"
    assert found.variables["https_proxy"] == "http://proxy.example"
    assert "PIP_USER" not in found.variables
    assert "PIP_CERT" not in found.variables
    assert found.files == {"PIP_CERT": "CA"}
    assert found.folders == (f"{bare}/wheels",)
    assert found.loopback


def test_pip_without_configuration(bare, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    found = _pip.settings()
    assert found == ({}, {}, (), False)


def test_files_of_pip_that_can_not_be_read(bare, monkeypatch):
    (bare / "pip.conf").write_text("what?")
    monkeypatch.setenv("PIP_CERT", str(bare / "missing.pem"))
    monkeypatch.setenv("PIP_FIND_LINKS", f"file://{bare}/missing {bare}")
    found = _pip.settings()
    assert not found.files
    assert found.folders == (str(bare),)


# -- small parts -----------------------------------------------------------------------


def test_a_tail_keeps_the_end_and_harms_no_terminal():
    tail = Tail()
    tail.add(b"x" * 10_000)
    tail.add(b"\x1b[31mred\xff\r\nend\n")
    text = str(tail)
    assert len(text) < 5000
    assert "\x1b" not in text
    assert text.endswith("end")


def test_aborts_end_what_goes_on_and_what_comes():
    aborts = Aborts()
    ended = []
    with pytest.raises(Aborted), aborts.by(lambda: ended.append(1)):
        aborts.abort()
        raise OSError("closed under its feet")
    assert ended == [1]
    with pytest.raises(Aborted), aborts.by(lambda: ended.append(2)):
        pass
    assert ended == [1]


def test_what_goes_wrong_by_itself_is_no_abort():
    aborts = Aborts()
    with pytest.raises(OSError, match="x"), aborts.by(bool):
        raise OSError("x")


def test_a_door_of_a_long_path_is_private_and_leaves_nothing(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    door = Door()
    outer = os.path.dirname(door.folder)
    assert os.stat(outer).st_mode & 0o777 == 0o700
    client = socket.socket(socket.AF_UNIX)
    number = os.open(door.folder, os.O_PATH)
    client.connect(f"/proc/self/fd/{number}/{NAME}")
    os.close(number)
    ours, theirs = socket.socketpair()  # a container that says nothing
    connection = door.wait(ours, Tail(), bool)
    door.close()
    door.close()
    assert os.listdir(deep) == []
    client.sendall(b"x")
    assert connection.recv(1) == b"x"
    for each in (connection, client, ours, theirs):
        each.close()


@pytest.mark.process
def test_a_program_that_finds_no_door_says_so(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", CONNECT, str(tmp_path / "none"), "print(1)"],
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 96
    assert b"FileNotFoundError" in ran.stderr
    assert ran.stdout == b""
