"""`entangle cache` lists what is kept and makes room, whoever works with it."""

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from entangle._cache import directory, encoding, room
from entangle._cache.store import Store
from entangle._cli.main import main


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv(directory.DIRECTORY, str(tmp_path / "cache"))
    return Store(directory.checked(), 10**9)


def save(store, number, value, name="task"):
    key = bytes([number]) * 20
    store.save(key, name, "pipeline", *encoding.encode(value, "v"))
    return key


def printed(capsys, *arguments):
    assert main(["cache", *arguments]) == 0
    return capsys.readouterr().out


def test_nothing_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(directory.DIRECTORY, str(tmp_path / "cache"))
    for action in ("ls", "prune", "clear"):
        assert printed(capsys, action) == f"nothing is kept in {tmp_path}/cache\n"
    assert not (tmp_path / "cache").exists()


def test_ls(store, capsys):
    small = save(store, 1, 1, "small")
    save(store, 2, np.zeros(200_000), "big")
    for _ in range(3):
        store.load(small)
    lines = printed(capsys).splitlines()
    assert lines[0].split() == ["SIZE", "AGE", "USED", "HITS", "FUNCTION"]
    assert re.fullmatch(r" +\d+ B +now +now +3  pipeline\.small", lines[1])
    assert re.fullmatch(r" +1\.6 MB +now +now +0  pipeline\.big", lines[2])
    assert lines[3] == f"2 values, 1.6 MB, in {store.folder}"
    assert "big" in printed(capsys, "ls", "--sort", "size").splitlines()[1]
    assert "small" in printed(capsys, "ls", "--sort", "hits").splitlines()[1]
    assert "small" in printed(capsys, "ls", "--sort", "age").splitlines()[1]
    assert "big" in printed(capsys, "ls", "--sort", "function").splitlines()[1]
    assert len(printed(capsys, "ls", "-n", "1").splitlines()) == 3
    # Looking is no use.
    assert "3  pipeline.small" in printed(capsys)


def test_prune_removes_what_is_damaged_and_what_is_nobodys(store, capsys):
    good = save(store, 1, 1)
    bad = save(store, 2, 2)
    Path(store.path(bad)).write_bytes(b"ENTGLE")
    Path(store.folder, "01", "stray").write_text("x")
    Path(store.folder, "other").write_text("x")
    Path(store.folder, "tmp", "1-2-3").write_text("x")
    os.utime(Path(store.folder, "tmp", "1-2-3"), (1, 1))
    assert "1 damaged" in printed(capsys, "ls")
    assert "0 unused and 4 damaged or stray" in printed(capsys, "prune")
    assert store.load(good)
    assert len(list(room.rows(store.folder))) == 1


def test_prune_by_size_and_time(store, capsys, monkeypatch):
    keys = [save(store, number, bytes(10_000)) for number in range(10)]
    assert "removed 6 unused" in printed(capsys, "prune", "--size", "42kB")
    assert [store.has(key) for key in keys] == [False] * 6 + [True] * 4
    assert "removed 0 unused" in printed(capsys, "prune", "--unused-for", "1h")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 7200)
    monkeypatch.setattr(time, "time_ns", lambda: int((now + 7200) * 1e9))
    store.load(keys[-1])
    assert "removed 3 unused" in printed(capsys, "prune", "--unused-for", "1h")
    assert store.has(keys[-1])


def test_clear(store, capsys):
    value = np.arange(200_000)
    key = save(store, 1, value)
    save(store, 2, 2)
    found = store.load(key)
    assert printed(capsys, "clear") == f"removed 2 values from {store.folder}\n"
    assert bytes(found.buffers[0]) == value.tobytes()
    assert not store.load(key)
    save(store, 1, 1)
    assert store.load(key)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ls", "--size", "1"], "--size belongs to `entangle cache prune`"),
        (["clear", "--unused-for", "1d"], "--unused-for belongs to"),
        (["prune", "-n", "1"], "-n belongs to `entangle cache ls`"),
        (["prune", "--unused-for", "soon"], "give seconds"),
        (["prune", "--unused-for", "-1"], "give seconds"),
        (["prune", "--unused-for", ""], "give seconds"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, words, store, capsys):
    save(store, 1, 1)
    assert main(["cache", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert len(list(room.rows(store.folder))) == 1


def test_what_must_not_be_used_is_refused(store, capsys):
    save(store, 1, 1)
    assert main(["cache", "prune", "--size", "x"]) == 3
    assert "--size='x' is no size" in capsys.readouterr().err
    os.chmod(os.path.dirname(store.folder), 0o777)
    assert main(["cache", "clear"]) == 3
    assert "others may write" in capsys.readouterr().err


def test_a_file_in_its_place_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv(directory.DIRECTORY, str(tmp_path / "cache"))
    assert main(["cache"]) == 3
    assert "no directory" in capsys.readouterr().err
