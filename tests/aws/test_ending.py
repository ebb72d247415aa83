"""Many jobs that are ended at once: against the books alone."""

import os
import signal
import subprocess
import sys
import time

import pytest
from life_kit import until
from moto.moto_api import state_manager

from entangle.aws._ec2 import Ec2Executor
from entangle.backend import Job, Pace
from entangle.testing import RecordedCall

pytestmark = [pytest.mark.usefixtures("books"), pytest.mark.process]

CLIENT = """
import sys
from entangle.aws import fargate
from entangle.task import gather

@fargate(security_groups=["sg-1"])
def away(number):
    return number

try:
    gather(*map(away, range(int(sys.argv[1]))))()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


class Program:
    """A program of its own with so many tasks of Fargate, which do not end."""

    def __init__(self, tasks, proxy, folder):
        script = folder / "program.py"
        script.write_text(CLIENT)
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(tasks)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ENTANGLE_PROGRESS": "off"},
        )
        until(lambda: proxy.count("RunTask") == tasks, 120)

    def interrupt(self):
        """Press Ctrl-C once."""
        self.process.send_signal(signal.SIGINT)

    def end(self):
        """Return what it says until its end."""
        out, err = self.process.communicate(timeout=200)
        assert out == "interrupted\n"
        assert self.process.returncode == 0
        return err


@pytest.fixture
def program(proxy, client, tmp_path):
    """Make programs that are ended with the test."""
    before = state_manager.get_transition("ecs::task")
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": 999})
    client("ecs").create_cluster(clusterName="default")
    made = []

    def make(tasks):
        made.append(Program(tasks, proxy, tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.process.kill()
        each.process.communicate()
    state_manager.set_transition("ecs::task", before)


def stopped(client):
    """Return the tasks that were told to stop, of all."""
    ecs = client("ecs")
    pages = ecs.get_paginator("list_tasks").paginate(cluster="default")
    found = []
    for page in pages:
        arns = page["taskArns"]
        if arns:
            found += ecs.describe_tasks(cluster="default", tasks=arns)["tasks"]
    return [each for each in found if each.get("stoppedReason")]


def test_a_wide_run_that_is_interrupted_leaves_nothing(proxy, client, program):
    """It takes longer than an executor is waited for that ends no jobs."""
    proxy.slow("StopTask", 1.0)
    interrupted = program(150)
    interrupted.interrupt()
    said = interrupted.end()
    assert len(stopped(client)) == 150
    assert "may still run" not in said
    assert "Traceback" not in said


def test_a_service_that_does_not_answer_is_not_waited_for(proxy, program):
    """One warning names what may run, and how it is ended."""
    proxy.slow("StopTask", 600.0)
    interrupted = program(30)
    interrupted.interrupt()
    said = interrupted.end()
    assert said.count("may still run") == 1
    assert "30 jobs of fargate may still run, until " in said
    assert said.count(":task/default/") == 10
    assert "and 20 more" in said
    assert "`entangle sweep aws` ends them when this program is over" in said


def test_who_interrupts_twice_leaves_at_once(proxy, program):
    """And is told what that leaves."""
    tasks = 150
    proxy.slow("StopTask", 4.0)
    interrupted = program(tasks)
    interrupted.interrupt()
    for line in interrupted.process.stderr:
        if "who interrupts leaves them running" in line:
            break
    interrupted.interrupt()
    said = interrupted.end()
    assert proxy.count("StopTask") < tasks
    assert said.count("jobs of fargate may still run") == 1


def test_throttling_of_what_is_to_end_is_waited_for(proxy, client, program):
    proxy.refuse("StopTask", "ThrottlingException", "Rate exceeded", times=60)
    interrupted = program(30)
    interrupted.interrupt()
    said = interrupted.end()
    assert len(stopped(client)) == 30
    assert "may still run" not in said


# -- instances, of which a request ends many -------------------------------------------


def test_many_instances_are_terminated_with_few_requests(proxy, instances, monkeypatch):
    monkeypatch.setattr(Ec2Executor, "pace", Pace(0.1, 1.2, 1.0))
    proxy.slow("TerminateInstances", 0.5)
    with Ec2Executor() as place:
        calls = [RecordedCall(abs, -1) for _ in range(40)]
        for call in calls:
            place.start(call)
        until(lambda: len(instances()) == 40, 120)
        proxy.asked.clear()
        for call in calls:
            place.cancel(call, 1.0)
        assert {call.end(120).detail for call in calls} == {"killed"}
    assert not instances.left()
    # The first go alone, the others together.
    assert proxy.count("TerminateInstances") <= 2 * place.enders + 2


def test_one_that_is_not_there_keeps_no_other_running(proxy, instances):
    def job(number):
        name, expires = f"entangle-abc-{number}", time.time() + 60
        return Job(name, "f", b"", (), {}, {}, expires, None, "")

    with Ec2Executor() as place:
        handles = [place.create(job(number)) for number in range(5)]
        gone = ["i-0123456789abcdef0", "i-0123456789abcdef1"]
        over = place.end([*handles[:2], *gone, *handles[2:]])
    assert set(over) == {*handles, *gone}
    assert all(over[name] for name in gone)
    assert not instances.left()
