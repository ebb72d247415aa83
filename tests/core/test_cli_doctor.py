"""`entangle doctor` finds what would go wrong."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from entangle._cli import checks
from entangle._cli import main as cli
from entangle._cli.checks import Finding
from entangle._cli.exits import INVALID, OK


def only(check):
    (finding,) = check()
    return finding


def by_subject(check):
    return {finding.subject: finding for finding in check()}


@pytest.mark.process
def test_this_machine_is_ready(capsys):
    """On the machine that runs these tests nothing fails, the round trip included."""
    assert cli.main(["doctor"]) == OK
    out = capsys.readouterr().out
    assert "\nok    round trip" in out
    assert out.endswith(" 0 failures\n")


def test_exit_code_and_remedy(monkeypatch, capsys):
    """A failure is counted, shown with what to do, and is the exit code."""
    bad = Finding("fail", "thing", "is broken", "mend it")
    monkeypatch.setattr(checks, "CHECKS", (lambda: [bad],))
    assert cli.main(["doctor"]) == INVALID
    out = capsys.readouterr().out
    assert out.splitlines()[:2] == [
        "fail  thing          is broken",
        "                     mend it",
    ]


@pytest.mark.parametrize(
    ("name", "version", "verdict"),
    [
        ("cpython", (3, 11), "ok"),
        ("cpython", (3, 10), "fail"),
        ("pypy", (3, 11), "warn"),
    ],
)
def test_python(monkeypatch, name, version, verdict):
    """CPython from 3.11 on."""
    monkeypatch.setattr(sys, "implementation", SimpleNamespace(name=name))
    monkeypatch.setattr(sys, "version_info", version)
    assert only(checks.python).verdict == verdict


@pytest.mark.parametrize(
    ("platform", "verdict"), [("linux", "ok"), ("darwin", "warn"), ("win32", "fail")]
)
def test_system(monkeypatch, platform, verdict):
    """Linux, macOS by best effort, not Windows."""
    monkeypatch.setattr(sys, "platform", platform)
    assert only(checks.system).verdict == verdict


@pytest.mark.parametrize(
    ("quota", "verdict"), [(None, "ok"), (2.5, "ok"), (0.5, "warn")]
)
def test_cpus(monkeypatch, quota, verdict):
    """A quota is shown, and a warning if it is less than a CPU."""
    monkeypatch.delenv("ENTANGLE_WORKERS", raising=False)
    monkeypatch.setattr("entangle._worker.processors.quota", lambda: quota)
    finding = only(checks.cpus)
    assert finding.verdict == verdict
    assert ("quota" in finding.text) == (quota is not None)


def test_bad_workers(monkeypatch):
    """A number of workers that is none fails, with what it should be."""
    monkeypatch.setenv("ENTANGLE_WORKERS", "many")
    finding = only(checks.cpus)
    assert finding.verdict == "fail"
    assert "many" in finding.remedy


@pytest.mark.parametrize(
    ("limit", "verdicts"),
    [((50, -1), {"warn"}), ((-1, -1), {"ok"}), ((5000, 9000), {"ok"})],
)
def test_descriptors(monkeypatch, limit, verdicts):
    """Low limits are warned of."""
    monkeypatch.setattr("resource.getrlimit", lambda _: limit)
    found = by_subject(checks.descriptors)
    assert {f.verdict for f in found.values()} == verdicts
    assert ("unlimited" in found["open files"].text) == (-1 in limit)


def test_kernel(monkeypatch):
    """Each facility is tried, and its absence is a warning."""

    def missing(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing, raising=False)
    found = by_subject(checks.kernel)
    assert found["pidfd"].verdict == "warn"
    assert "Function not implemented" in found["pidfd"].text
    assert found["memfd"].verdict == "ok"


def test_no_shared_memory(monkeypatch, tmp_path):
    """A missing /dev/shm and an unusable temp folder are found."""
    monkeypatch.setattr(checks, "SHARED", tmp_path / "shm")
    monkeypatch.setattr(checks.tempfile, "tempdir", str(tmp_path / "no" / "where"))
    found = by_subject(checks.folders)
    assert found[str(tmp_path / "shm")].verdict == "warn"
    assert found["temp files"].verdict == "fail"


def test_little_shared_memory(monkeypatch):
    """A small /dev/shm is a warning, a large one is fine."""
    monkeypatch.setattr(checks, "LEAST_SHARED_MEMORY", 1 << 62)
    assert by_subject(checks.folders)["/dev/shm"].verdict == "warn"
    monkeypatch.setattr(checks, "LEAST_SHARED_MEMORY", 0)
    assert by_subject(checks.folders)["/dev/shm"].verdict == "ok"


def test_packages(monkeypatch):
    """Missing metadata is a warning, a dependency that breaks a failure."""

    def broken(name):
        raise ImportError(f"{name} is broken")

    monkeypatch.setattr(checks, "import_module", broken)
    monkeypatch.setattr(checks, "version_of", lambda _: None)
    found = by_subject(checks.packages)
    assert found["entangle-core"].verdict == "warn"
    assert found["cloudpickle"].verdict == found["pluggy"].verdict == "fail"
    assert "cloudpickle is broken" in found["cloudpickle"].text


@pytest.mark.parametrize("name", ["entangle/__init__.py", "entangle.py"])
def test_hidden_namespace(monkeypatch, tmp_path, name):
    """A package or module `entangle` in the way is found, in cwd or on the path."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    finding = only(checks.namespace)
    assert finding.verdict == "fail"
    assert str(path) in finding.text
    monkeypatch.setattr(sys, "path", sys.path[1:])
    monkeypatch.chdir(tmp_path)
    assert only(checks.namespace).verdict == "fail"


def test_free_namespace(monkeypatch, tmp_path):
    """Nothing in the way is fine."""
    monkeypatch.chdir(tmp_path)
    assert only(checks.namespace).verdict == "ok"


def test_environment(monkeypatch):
    """Known variables are shown, unknown ones get a suggestion."""
    for name in [name for name in os.environ if name.startswith("ENTANGLE_")]:
        monkeypatch.delenv(name)
    assert not list(checks.environment())
    monkeypatch.setenv("ENTANGLE_WORKERS", "3")
    monkeypatch.setenv("ENTANGLE_WOKERS", "3")
    monkeypatch.setenv("ENTANGLE_XYZZY", "3")
    found = by_subject(checks.environment)
    assert found["ENTANGLE_WORKERS"].verdict == "ok"
    assert found["ENTANGLE_WOKERS"].remedy == "did you mean ENTANGLE_WORKERS?"
    assert found["ENTANGLE_XYZZY"].remedy == "unset it"


def test_the_cache(monkeypatch, tmp_path):
    path = tmp_path / "cache"
    monkeypatch.setenv("ENTANGLE_CACHE_DIR", str(path))
    (found,) = checks.cache()
    assert (found.verdict, found.text) == ("ok", f"{path}, up to 10 GB")
    assert not path.exists()
    path.mkdir(mode=0o700)
    path.chmod(0o777)
    (found,) = checks.cache()
    assert found.verdict == "fail"
    assert "others may write" in found.text
    assert found.remedy
    path.chmod(0o700)
    (path / "v1").mkdir(mode=0o700)
    monkeypatch.setattr(checks.os, "access", lambda *_: False)
    (found,) = checks.cache()
    assert found.verdict == "warn"
    monkeypatch.setenv("ENTANGLE_CACHE_SIZE", "much")
    (found,) = checks.cache()
    assert found.verdict == "fail"


def test_round_trip_fails(monkeypatch):
    """A failing round trip is a finding, in one line."""

    class Broken:
        def run(self, timeout):
            raise RuntimeError("no worker\nmore")

    monkeypatch.setattr("entangle._cli.probe.where", Broken)
    finding = only(checks.round_trip)
    assert finding.verdict == "fail"
    assert finding.text == "RuntimeError: no worker"


def test_round_trip_in_this_process(monkeypatch):
    """A call that stays here, as with ENTANGLE_INLINE, is a warning."""

    class Here:
        def run(self, timeout):
            return os.getpid()

    monkeypatch.setattr("entangle._cli.probe.where", Here)
    assert only(checks.round_trip).verdict == "warn"


def test_shared_memory_is_where_it_is():
    """The folder that is looked at is the kernel's."""
    assert Path("/dev/shm") == checks.SHARED
