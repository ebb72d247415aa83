"""Refusals in the middle of a run: storms of throttling, quotas, a store that says no."""

import os
import threading
import time

import pytest

from entangle.aws import AwsError, aws, fargate, lmbda
from entangle.errors import (
    JobError,
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

    refusal = proxy.refuse("Invoke", *STORM, times=10, status=429)
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


def test_a_store_that_refuses_for_good(proxy, client):
    """The answer stays where it lies, and the error says where that is."""

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


def test_a_poisoned_object_is_rejected_unread(client, aws_server, tmp_path):
    """Somebody else writes to where the answer belongs."""
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    aws_server.folder = tmp_path
    poisoned = tmp_path / "poisoned"
    try:

        @there()
        def wait(stop, poisoned):
            while not os.path.exists(stop):
                time.sleep(0.01)
            return 1

        future = wait(str(tmp_path / "stop"), str(poisoned)).submit()
        bucket, key = until(lambda: news(client, "started"))
        body = f"cos\nsystem\n(S'touch {poisoned}'\ntR.".encode()
        answer = key.replace(".started", ".answer")
        client("s3").put_object(Bucket=bucket, Key=answer, Body=body)
        with pytest.raises(UntrustedResultError) as caught:
            future.result(100)
        assert not poisoned.exists()
        assert ":task/" in caught.value.resource
        until(lambda: not aws_server.containers())
    finally:
        (tmp_path / "stop").touch()
        aws_server.folder = None


# -- the log ---------------------------------------------------------------------------


def speaking():
    @there()
    def speak():
        print("so it is")
        return 1

    return speak


def test_a_log_group_that_is_gone_is_said_once(client, capfd, caplog):
    """And what is printed comes with the value."""
    assert speaking()()() == 1
    client("logs").delete_log_group(logGroupName="/entangle/fargate")
    capfd.readouterr()

    @there()
    def slow():
        print("so it is")
        time.sleep(3)
        return 1

    assert gather(slow(), slow())() == [1, 1]
    assert capfd.readouterr().out == "so it is\nso it is\n"
    said = [each.getMessage() for each in caplog.records if "log" in each.getMessage()]
    (warning,) = [text for text in said if "can't be followed" in text]
    assert "aws logs create-log-group --log-group-name /entangle/fargate" in warning
    client("logs").create_log_group(logGroupName="/entangle/fargate")


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


def test_what_a_task_prints_is_told_while_it_runs(aws_server, tmp_path, capfd):
    """Each line once, on its stream, in its order."""
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    aws_server.folder = tmp_path
    try:

        @there()
        def speak(stop):
            import sys

            for number in range(3):
                print("line", number)
                print("warning", number, file=sys.stderr)
            while not os.path.exists(stop):
                time.sleep(0.01)
            print("the end", end="")

        future = speak(str(tmp_path / "stop")).submit()
        out, err = "", ""

        def told():
            nonlocal out, err
            more = capfd.readouterr()
            out, err = out + more.out, err + more.err
            return out.count("\n") >= 3 and err.count("\n") >= 3

        until(told)
        assert not future.done()
        (tmp_path / "stop").touch()
        future.result(100)
        told()
        assert out == "line 0\nline 1\nline 2\nthe end"
        assert err == "warning 0\nwarning 1\nwarning 2\n"
    finally:
        (tmp_path / "stop").touch()
        aws_server.folder = None
