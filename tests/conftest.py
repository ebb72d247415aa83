"""Nothing may be left behind: a guard around every test and every module.

While the tests of a module run, the pool's idle workers and threads may live on; when
the module ends, `entangle.task.shutdown()` is called and nothing at all may be left:
no thread, process, descriptor, shared memory or temporary file.
"""

import gc
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from leaks import Ledger, shutdown_pool

# What a shell starts in the background is born with SIGINT ignored, and so would be the
# programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def pytest_configure(config):
    """Give the session a folder for temporary files of its own, and a mark.

    Whatever the tests' programs leave in the folder is theirs, whoever else uses the
    machine. The mark is an environment variable: a process that carries it was started
    by these tests, however often it was handed to another parent.
    """
    del config
    # pytest keeps its own folders (tmp_path) where they were.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="entangle-tests-")
    os.environ["LEAK_GUARD_MARK"] = Path(tempfile.tempdir).name


def pytest_unconfigure(config):
    """Remove the session's folder."""
    del config
    folder = os.environ.pop("TMPDIR")
    tempfile.tempdir = None
    shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_finish(session):
    """Spare the collector the thousands of tests, which live until the end."""
    del session
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI a test that is skipped for want of an engine fails: CI has to bring it."""
    del call
    report = yield
    needs = item.get_closest_marker("integration") or item.get_closest_marker("static")
    if CI and needs and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"must not be skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(autouse=True, scope="module")
def _nothing_left_by_module():
    """Shut the pool down at the module's end and look for anything left."""
    before = Ledger.taken()
    yield
    shutdown_pool()
    gc.collect()
    left = before.left_behind()
    assert not left, "left behind after shutdown():\n" + "\n".join(left)


@pytest.fixture(autouse=True)
def _nothing_left_by_test(request, _nothing_left_by_module):
    """Look for anything that a test left, the pool's own things excepted."""
    before = Ledger.taken()
    yield
    left = before.left_behind(pool_may_live=True)
    assert not left, f"left behind by {request.node.name}:\n" + "\n".join(left)
