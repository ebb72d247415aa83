"""How few requests and threads many calls take: counted by a proxy."""

import base64
import json
import os
import subprocess
import sys
import threading
import time
from unittest import mock

import pytest
from moto.moto_api import state_manager

from entangle._worker import calls, job
from entangle.aws import _fargate
from entangle.aws._account import account
from entangle.backend import Pace
from entangle.testing import RecordedCall

FLEET = int(os.environ.get("ENTANGLE_TEST_FLEET", "250"))
MANY = 100
AT_ONCE = 300
HUNDRED = """
import faulthandler, json, os, sys, threading, time
# Should it hang, it says where.
faulthandler.dump_traceback_later(240, exit=True)
from entangle.aws import aws, lmbda
from entangle.task import gather

# Where each has a container of its own there is no room for more.
most = {} if len(sys.argv) > 1 else {"concurrency": 24}

@aws(keys=[])
@lmbda(memory=128, timeout=120, **most)
def same(number):
    return number

if len(sys.argv) == 1:
    same(0)()
many = int((sys.argv + ["100"])[1])
most = [0]
over = threading.Event()

def look():
    while not over.wait(0.01):
        most[0] = max(most[0], len(os.listdir("/proc/self/task")) - 1)

looking = threading.Thread(target=look)
looking.start()
begun = time.process_time()
values = gather(*[same(number) for number in range(many)])()
spent = time.process_time() - begun
over.set()
looking.join()
assert values == list(range(many))
print(json.dumps({"threads": most[0], "milliseconds": 1000 * spent / many}))
"""


def until(condition, seconds=120.0):
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience, condition
        threading.Event().wait(0.05)


@pytest.fixture
def fleet(books, proxy, client, monkeypatch):
    """A place whose tasks never end by themselves."""
    before = state_manager.get_transition("ecs::task")
    for_ever = {"progression": "manual", "times": 10**9}
    state_manager.set_transition("ecs::task", for_ever)
    client("ecs").create_cluster(clusterName="default")
    monkeypatch.setattr(_fargate.FargateExecutor, "pace", Pace(0.3, 1.0, 0.3))
    # The books ask for groups, which AWS does not.
    yield _fargate.FargateExecutor(aws=account(), security_groups=["sg-12345678"])
    state_manager.set_transition("ecs::task", before)


@pytest.mark.timeout(280)
def test_many_jobs_are_asked_after_by_few_requests(fleet, proxy):
    """One for a hundred, and one for a thousand answers."""
    calls = [RecordedCall(abs, number) for number in range(FLEET)]
    for call in calls:
        fleet.start(call)
    until(lambda: proxy.count("RunTask") == FLEET, 100)
    until(lambda: not fleet._JobExecutor__desk._table.all("creating"), 60)
    proxy.asked.clear()
    rounds = 5
    each = -(-FLEET // 100)
    until(lambda: proxy.count("DescribeTasks") >= rounds * each)
    asked, looked = proxy.count("DescribeTasks"), proxy.count("ListObjectsV2")
    # In turn with the store; one of either may be under way.
    assert abs(asked / each - looked) <= 2
    assert {each.operation for each in proxy.asked} == {
        "DescribeTasks",
        "ListObjectsV2",
    }
    for call in calls:
        fleet.cancel(call, 10)
    fleet.shutdown()
    assert proxy.count("StopTask") >= FLEET


@pytest.mark.timeout(280)
def test_what_many_jobs_share_is_uploaded_once(fleet, proxy):
    """50 MB, however many jobs are given it."""
    shared = os.urandom(1 << 20) * 48
    calls = [RecordedCall(len, shared) for _ in range(MANY)]
    for call in calls:
        fleet.start(call)
    until(lambda: proxy.count("RunTask") == MANY, 100)
    sizes = [each.size for each in proxy.asked if each.operation == "PutObject"]
    assert sum(size >= len(shared) for size in sizes) == 1
    assert sum(sizes) < 1.1 * len(shared) + MANY * 10_000
    for call in calls:
        fleet.cancel(call, 10)
    fleet.shutdown()


@pytest.mark.process
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("books", "role")
def test_many_lambda_calls_run_at_the_same_time(proxy):
    """None is answered before all have come: a thread for each there were not."""
    gate, turn = threading.Barrier(AT_ONCE), threading.Lock()
    behind = proxy.answer

    def answer(method, path, headers, body):
        if not path.endswith("/invocations"):
            return behind(method, path, headers, body)
        gate.wait(60)
        with turn, mock.patch("entangle._worker.functions.enter_main"):
            document = base64.b64decode(json.loads(body)["call"]["data"])
            facts, parts = calls.collected(document)
            said, value = calls.run(facts, parts, lambda: None)
            sealed = job.sealed(facts, said, value, job.Output())
        text = json.dumps({"answer": base64.b64encode(sealed).decode()})
        return 200, {"Content-Type": "application/json"}, text.encode()

    proxy.answer = answer
    told = hundred(str(AT_ONCE))
    assert told["threads"] <= 32


# The last one: the stand-in that it needs starts what the others only count.
@pytest.mark.integration
@pytest.mark.process
@pytest.mark.timeout(280)
@pytest.mark.usefixtures("role")
def test_a_hundred_lambda_calls_at_once(aws_server):
    """By no more than 32 threads."""
    told = hundred()
    assert told["threads"] <= 32


def hundred(*arguments):
    """Run a program of so many calls; return what it tells of its threads."""
    done = subprocess.run(
        [sys.executable, "-c", HUNDRED, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(told)
    return told
