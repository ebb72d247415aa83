"""How many processors may be used, on machines of all kinds."""

import os

import pytest

from entangle._pool import cpus
from entangle._worker import processors


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with four processors and, so far, no control groups."""
    monkeypatch.delenv(cpus.WORKERS, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 1, 0, 2})

    monkeypatch.setattr(processors, "ROOT", f"{tmp_path}/")

    def write(name, text):
        file = tmp_path / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


def test_without_limits(machine):
    assert processors.allowed() == (0, 1, 2, 3)
    assert processors.quota() is None
    assert cpus.workers() == 4


def test_without_affinity(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert processors.allowed() == (0, 1)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors.allowed() == (0,)


@pytest.mark.parametrize(
    ("limit", "share", "workers"),
    [
        ("max 100000", None, 4),
        ("150000 100000", 1.5, 2),
        ("100000 100000", 1.0, 1),
        ("10000 100000", 0.1, 1),
        ("800000 100000", 8.0, 4),
    ],
)
def test_unified_hierarchy(machine, limit, share, workers):
    machine("/proc/self/cgroup", "0::/job\n")
    machine("/sys/fs/cgroup/cgroup.controllers", "cpu")
    machine("/sys/fs/cgroup/job/cpu.max", limit)
    assert processors.quota() == share
    assert cpus.workers() == workers


def test_the_tightest_limit_on_the_way_up(machine):
    machine("/proc/self/cgroup", "1:name=systemd:/x\n0::/a/b/c\n")
    machine("/sys/fs/cgroup/cgroup.controllers", "cpu")
    machine("/sys/fs/cgroup/a/cpu.max", "200000 100000")
    machine("/sys/fs/cgroup/a/b/cpu.max", "300000 100000")
    machine("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000")
    assert processors.quota() == 2.0


def test_a_container_that_sees_only_its_own_group(machine):
    machine("/proc/self/cgroup", "0::/\n")
    machine("/sys/fs/cgroup/cgroup.controllers", "cpu")
    machine("/sys/fs/cgroup/cpu.max", "300000 100000")
    assert cpus.workers() == 3


@pytest.mark.parametrize(("quota", "share"), [("250000", 2.5), ("-1", None)])
def test_split_hierarchy(machine, quota, share):
    machine("/proc/self/cgroup", "4:cpu,cpuacct:/job\n0::/\n")
    machine("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", quota)
    machine("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000")
    assert processors.quota() == share


def test_split_hierarchy_seen_from_inside(machine):
    machine("/proc/self/cgroup", "4:cpu,cpuacct:/docker/1234\n")
    machine("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000")
    machine("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert cpus.workers() == 1


@pytest.mark.parametrize("text", ["nonsense", "", "x y"])
def test_unreadable_limits_are_no_limits(machine, text):
    machine("/proc/self/cgroup", "0::/job\n")
    machine("/sys/fs/cgroup/cgroup.controllers", "cpu")
    machine("/sys/fs/cgroup/job/cpu.max", text)
    assert processors.quota() is None
    assert cpus.workers() == 4


def test_as_many_as_the_user_says(machine, monkeypatch):
    monkeypatch.setenv(cpus.WORKERS, "17")
    assert cpus.workers() == 17
    monkeypatch.setenv(cpus.WORKERS, " 3 ")
    assert cpus.workers() == 3
    monkeypatch.setenv(cpus.WORKERS, "")
    assert cpus.workers() == 4


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", " "])
def test_what_the_user_cannot_say(machine, monkeypatch, text):
    monkeypatch.setenv(cpus.WORKERS, text)
    with pytest.raises(ValueError, match=cpus.WORKERS) as caught:
        cpus.workers()
    assert repr(text) in str(caught.value)


def test_this_machine():
    assert set(processors.allowed()) == os.sched_getaffinity(0)
