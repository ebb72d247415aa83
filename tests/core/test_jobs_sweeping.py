"""What a sweep takes for left, and what it leaves alone."""

import json
import subprocess
import sys
import time

import pytest

from entangle._jobs.owner import Owner
from entangle._jobs.session import EXPIRES, OWNED_BY
from entangle._jobs.sweeping import objects
from entangle.backend import DirectoryStore

LATER, BEFORE = time.time() + 3600, time.time() - 3600
HERE = Owner.this()
GONE = HERE._replace(started=HERE.started + 1)
ELSEWHERE = HERE._replace(machine="another")


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path)


def session(store, name, owner, expires):
    record = {OWNED_BY: str(owner), EXPIRES: str(int(expires))}
    store.put(f"entangle/{name}/owner.json", json.dumps(record).encode())
    store.put(f"entangle/{name}/news-entangle-{name}-1.answer", b"answer")


def keys(store):
    return {found.key for found in store.list("entangle/")}


@pytest.mark.parametrize(
    ("owner", "expires", "left"),
    [
        (HERE, LATER, False),
        (ELSEWHERE, LATER, False),
        (GONE, LATER, True),
        (ELSEWHERE, BEFORE, True),
    ],
    ids=["of here", "of elsewhere", "of a process that is gone", "too old"],
)
def test_whose_objects_are(store, owner, expires, left):
    session(store, "one", owner, expires)
    found = list(objects(store, 0.0))
    assert bool(found) == left
    for leftover in found:
        leftover.remove()
    assert bool(keys(store)) != left


def test_what_a_job_writes_after_the_sweep_is_found_by_the_next(store):
    """It was told to end, and was about to say that it had begun."""
    session(store, "one", GONE, LATER)
    session(store, "mine", HERE, LATER)
    before = keys(store)
    for leftover in objects(store, 0.0):
        leftover.remove()
    store.put("entangle/one/news-entangle-one-1.started", b"")
    (late,) = objects(store, 0.0)
    assert late.name.endswith("entangle/one")
    late.remove()
    assert keys(store) == {key for key in before if "/mine/" in key}


@pytest.mark.parametrize(
    "key",
    [
        *("results/table.csv", "one/two.answer", "one/news-1.answer"),
        *("one/news-entangle-two-1.answer", "one/news-entangle-one-1.answer.bak"),
    ],
)
def test_what_is_somebodys_own_is_left_alone(store, key):
    """A bucket may have had such a folder before."""
    store.put(f"entangle/{key}", b"mine")
    store.put("entangle/one/news-entangle-one-1.answer", b"late")
    for leftover in objects(store, 0.0):
        leftover.remove()
    assert keys(store) == {f"entangle/{key}"}


def test_a_record_that_says_nothing_is_left_alone(store):
    """Who has written it may be another version."""
    session(store, "one", HERE, LATER)
    store.put("entangle/one/owner.json", b"\xff")
    assert not list(objects(store, 0.0))


def test_processes_that_can_not_be_looked_at(monkeypatch):
    """Elsewhere there is no /proc, or it hides what other users run."""

    def hidden(*_, **__):
        raise FileNotFoundError

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr("entangle._jobs.owner.open", hidden, raising=False)
    here = Owner.this()
    assert here.started == 0
    assert not here.gone()
    assert not here._replace(started=1).gone()
    assert here._replace(pid=ended.pid).gone()


def test_only_what_is_old(store):
    session(store, "one", GONE, LATER)
    assert not list(objects(store, 3600.0))
