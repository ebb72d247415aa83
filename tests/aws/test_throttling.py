"""Refusals in the middle of a run: storms of throttling, quotas, a store that says no."""

import os
import threading
import time

import pytest

from entangle.aws import AwsError, aws, fargate, lmbda
from entangle.errors import (
    JobError,
    JobLostError,
    ProcessTimeoutException,
    UntrustedResultError,
)
from entangle.process import process
from entangle.task import gather, shutdown

pytestmark = [pytest.mark.integration, pytest.mark.process]
IMAGE = "entangle-test/python:3.11"
STORM = ("TooManyRequestsException", "Rate Exceeded.")


@pytest.fixture(autouse=True)
def _places(aws_server, proxy, role, client, monkeypatch):
    from entangle.aws import _fargate
    from entangle.backend import Pace

    monkeypatch.setattr(_fargate.FargateExecutor, "pace", Pace(0.1, 1.2, 1.0))
    # The SDK's own attempts, which only take time here.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    client("ecs").create_cluster(clusterName="default")


def until(condition, seconds=100.0):
    patience = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < patience, condition
        threading.Event().wait(0.05)
    return found


@pytest.fixture
def folder(aws_server, tmp_path):
    """A folder that tasks see, too."""
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    aws_server.folder = tmp_path
    yield tmp_path
    (tmp_path / "stop").touch()
    aws_server.folder = None


def news(client, kind):
    """Return bucket and key of what a job has written."""
    s3 = client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        found = s3.list_objects_v2(Bucket=bucket["Name"], Prefix="entangle/")
        for each in found.get("Contents", ()):
            if each["Key"].endswith(f".{kind}"):
                return bucket["Name"], each["Key"]
    return None


# -- Lambda ----------------------------------------------------------------------------


@pytest.fixture
def same():
    @aws(keys=[])
    @lmbda(memory=128)
    def same(number):
        return number

    return same


def test_a_storm_of_throttling_is_waited_for(proxy, same):
    same(0)()
    refusal = proxy.refuse("Invoke", *STORM, times=30, status=429)
    assert gather(*[same(n) for n in range(10)])() == list(range(10))
    assert refusal.left == [0]


def test_a_storm_that_does_not_end(proxy, same):
    """The task says for how long; no call is made after that."""

    @process(start=2.0)
    @aws(keys=[])
    @lmbda(memory=128)
    def one():
        return 1

    same(0)()
    proxy.refuse("Invoke", *STORM, status=429)
    with pytest.raises(ProcessTimeoutException) as caught:
        one()()
    assert caught.value.phase == "start"
    shutdown()
    before = proxy.count("Invoke")
    assert before < 40
    proxy.allow()
    assert proxy.count("Invoke") == before


def test_a_storm_at_a_function_that_is_there(proxy, client):
    @aws(keys=[])
    @lmbda(function="there")
    def there(): ...

    refusal = proxy.refuse("Invoke", *STORM, times=6, status=429)
    with pytest.raises(AwsError, match="ResourceNotFoundException"):
        there(1)()
    assert refusal.left == [0]


def test_what_is_reserved_is_kept_to(aws_server, proxy):
    """The service refuses a third at once; none is refused."""

    @aws(keys=[])
    @lmbda(memory=128, concurrency=2)
    def slow(number):
        import time

        time.sleep(0.2)
        return number

    assert gather(*[slow(n) for n in range(8)])() == list(range(8))
    assert aws_server.most_at_once == 2
    assert aws_server.throttled == 0
    assert proxy.count("Invoke") == 8


def test_a_function_that_was_deleted_is_made_again(proxy, client, same):
    assert same(1)() == 1
    before = proxy.count("CreateFunction")
    lambdas = client("lambda")
    for each in lambdas.list_functions()["Functions"]:
        lambdas.delete_function(FunctionName=each["FunctionName"])
    assert same(2)() == 2
    assert proxy.count("CreateFunction") == before + 1


def test_a_death_has_the_last_of_the_log():
    @aws(keys=[])
    @lmbda(memory=128, timeout=2)
    def slow():
        print("so far and no further", flush=True)
        time.sleep(60)

    with pytest.raises(ProcessTimeoutException) as caught:
        slow()()
    assert any("so far and no further" in note for note in caught.value.__notes__)


# -- Fargate ---------------------------------------------------------------------------


def there(**options):
    return lambda function: aws(keys=[])(fargate(image=IMAGE, **options)(function))


def test_a_storm_at_every_step_is_waited_for(proxy):
    """The SDK asks five times, and who has asked it asks again."""
    for operation in ("RegisterTaskDefinition", "RunTask", "DescribeTasks"):
        proxy.refuse(operation, "ThrottlingException", "Rate exceeded", times=6)
    slow = proxy.refuse("ListObjectsV2", "SlowDown", status=503, times=6)

    @there()
    def one():
        return 1

    assert one()() == 1
    assert slow.left == [0]
    assert proxy.count("RunTask") == 7


def test_a_quota_is_waited_for(proxy):
    text = "You've reached the limit on the number of vCPUs you can run concurrently"
    refusal = proxy.refuse("RunTask", "ClientException", text, times=3)
    assert there()(abs)(-1)() == 1
    assert refusal.left == [0]


def test_spare_capacity_is_asked_for(aws_server):
    assert there(spot=True)(abs)(-1)() == 1
    assert aws_server.tasks.asked[-1]["capacity_provider_strategy"][0] == {
        "capacityProvider": "FARGATE_SPOT",
        "weight": 1,
    }


def test_arm_is_said_in_the_task_definition(client):
    assert there(cpu="Graviton")(abs)(-1)() == 1
    ecs = client("ecs")
    platforms = [
        ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"].get(
            "runtimePlatform", {}
        )
        for arn in ecs.list_task_definitions()["taskDefinitionArns"]
    ]
    assert {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"} in platforms


def test_a_store_that_refuses_for_good(proxy, client, monkeypatch):
    """The answer stays where it lies, and the error says where that is."""
    monkeypatch.setattr("entangle._jobs.clerk.PATIENCE", 1.0)

    @there()
    def one():
        return 1

    proxy.refuse("GetObject", "AccessDenied", status=403)
    # Its program and its call are fetched by the same operation, with another client.
    before, proxy.answer = proxy.answer, None

    def answer(method, path, headers, body):
        if headers.get("User-Agent", "").startswith("Python-urllib"):
            refusals, proxy._refusals = proxy._refusals, []
            try:
                return before(method, path, headers, body)
            finally:
                proxy._refusals = refusals
        return before(method, path, headers, body)

    proxy.answer = answer
    with pytest.raises(JobError, match="can't be fetched") as caught:
        one()()
    assert "s3:GetObject is not allowed" in str(caught.value)
    bucket, key = news(client, "answer")
    assert f"s3://{bucket}/{key}" in str(caught.value)
    assert caught.value.__cause__.action == "s3:GetObject"


def test_a_poisoned_object_is_rejected_unread(client, aws_server, folder):
    """Somebody else writes to where the answer belongs."""
    poisoned = folder / "poisoned"

    @there()
    def wait(stop):
        while not os.path.exists(stop):
            time.sleep(0.01)
        return 1

    future = wait(str(folder / "stop")).submit()
    bucket, key = until(lambda: news(client, "started"))
    body = f"cos\nsystem\n(S'touch {poisoned}'\ntR.".encode()
    answer = key.replace(".started", ".answer")
    client("s3").put_object(Bucket=bucket, Key=answer, Body=body)
    with pytest.raises(UntrustedResultError) as caught:
        future.result(100)
    assert not poisoned.exists()
    assert ":task/" in caught.value.resource
    until(lambda: not aws_server.containers())


# -- the log ---------------------------------------------------------------------------


def speaking():
    @there()
    def speak():
        print("so it is")
        return 1

    return speak


GROUP = "/entangle/fargate"


@pytest.mark.parametrize("allowed", [True, False])
def test_a_log_group_that_is_deleted_is_said_once(
    proxy, client, capfd, caplog, folder, allowed
):
    """What is printed comes with the value; tasks to come have one again."""

    @there()
    def slow(stop):
        print("so it is")
        while not os.path.exists(stop):
            time.sleep(0.01)
        return 1

    if not allowed:
        assert speaking()()() == 1  # which makes the group
        capfd.readouterr()
        proxy.refuse("CreateLogGroup", "AccessDeniedException", status=400)
    stop = folder / "stop"
    future = gather(slow(str(stop)), slow(str(stop))).submit()
    until(lambda: capfd.readouterr().out)
    client("logs").delete_log_group(logGroupName=GROUP)

    def warnings():
        said = [each.getMessage() for each in caplog.records]
        return [text for text in said if "can't be followed" in text]

    until(warnings)
    stop.touch()
    assert future.result(100) == [1, 1]
    (warning,) = warnings()
    caplog.clear()  # its records hold errors, which hold the frames of connections
    groups = client("logs").describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]
    assert [each["logGroupName"] for each in groups] == [GROUP] * allowed
    if allowed:
        assert "made again, for tasks to come" in warning
        assert speaking()()() == 1
    else:
        assert "logs:CreateLogGroup is not allowed" in warning
        assert f"aws logs create-log-group --log-group-name {GROUP}" in warning


def test_a_task_that_lacks_its_log_group(client):
    """It can't begin, the error says so, and who tries again finds it made again."""
    assert speaking()()() == 1
    client("logs").delete_log_group(logGroupName=GROUP)
    with pytest.raises(JobLostError, match="log group does not exist") as caught:
        speaking()()()
    assert ":task/" in caught.value.resource

    @process(retry=1)
    @there()
    def again():
        return 1

    assert again()() == 1
    client("logs").delete_log_group(logGroupName=GROUP)
    assert again()() == 1


def test_a_log_that_may_not_be_read_is_said_once(proxy, caplog, capfd):
    proxy.refuse("FilterLogEvents", "AccessDeniedException", status=400)

    @there()
    def slow():
        print("so it is")
        time.sleep(3)
        return 1

    assert slow()() == 1
    assert capfd.readouterr().out == "so it is\n"
    (warning,) = [
        each.getMessage()
        for each in caplog.records
        if "can't be followed" in each.getMessage()
    ]
    assert "logs:FilterLogEvents is not allowed" in warning
    assert proxy.count("FilterLogEvents") == 1


def test_what_a_task_prints_is_told_while_it_runs(folder, capfd):
    """Each line once, on its stream, in its order."""

    @there()
    def speak(stop):
        import sys

        for number in range(3):
            print("line", number)
            print("warning", number, file=sys.stderr)
        while not os.path.exists(stop):
            time.sleep(0.01)
        print("the end", end="")

    future = speak(str(folder / "stop")).submit()
    out, err = "", ""

    def told():
        nonlocal out, err
        more = capfd.readouterr()
        out, err = out + more.out, err + more.err
        return out.count("\n") >= 3 and err.count("\n") >= 3

    until(told)
    assert not future.done()
    (folder / "stop").touch()
    future.result(100)
    told()
    assert out == "line 0\nline 1\nline 2\nthe end"
    assert err == "warning 0\nwarning 1\nwarning 2\n"
