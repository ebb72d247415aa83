"""Tasks on Fargate, really executed in containers behind the stand-in."""

import os
import subprocess
import sys
import threading
import time

import pytest

from entangle._cli.main import main
from entangle.aws import AwsError, aws, fargate
from entangle.errors import (
    JobLostError,
    PlaceBusyError,
    ProcessTerminatedException,
    ProcessTimeoutException,
)
from entangle.process import process
from entangle.run import budget
from entangle.task import gather, shutdown

pytestmark = [
    pytest.mark.integration,
    pytest.mark.process,
    pytest.mark.usefixtures("aws_server"),
]
IMAGE = "entangle-test/python:3.11"
SECONDS = 120.0


@pytest.fixture(autouse=True)
def cluster(client, monkeypatch):
    from entangle.aws import _fargate
    from entangle.backend import Pace

    monkeypatch.setattr(_fargate.FargateExecutor, "pace", Pace(0.1, 1.2, 1.0))
    client("ecs").create_cluster(clusterName="default")


def there(**options):
    return lambda function: aws(keys=[])(fargate(image=IMAGE, **options)(function))


def until(condition):
    patience = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < patience, condition
        threading.Event().wait(0.05)
    return found


def objects(client):
    s3 = client("s3")
    return [
        found["Key"]
        for bucket in s3.list_buckets()["Buckets"]
        for found in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", ())
    ]


def test_a_task_is_shipped(client, capfd):
    """It prints, it is tagged, it has no credentials, it leaves nothing."""

    @there(ram="1GB")
    def double(number):
        print("doubling", number)
        return 2 * number, [name for name in os.environ if "AWS" in name]

    assert double(21)() == (42, [])
    assert capfd.readouterr().out == "doubling 21\n"
    shutdown()
    assert objects(client) == []
    (bucket,) = client("s3").list_buckets()["Buckets"]
    assert bucket["Name"] == "entangle-123456789012-us-east-1"
    rules = client("s3").get_bucket_lifecycle_configuration(Bucket=bucket["Name"])
    assert rules["Rules"][0]["Expiration"]["Days"] == 15
    blocked = client("s3").get_public_access_block(Bucket=bucket["Name"])
    assert set(blocked["PublicAccessBlockConfiguration"].values()) == {True}
    ecs = client("ecs")
    (arn,) = ecs.list_task_definitions()["taskDefinitionArns"]
    found = ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
    assert (found["cpu"], found["memory"]) == ("256", "1024")
    tasks = ecs.list_tasks(cluster="default", desiredStatus="STOPPED")["taskArns"]
    described = ecs.describe_tasks(cluster="default", tasks=tasks, include=["TAGS"])
    tags = {tag["key"] for tag in described["tasks"][0]["tags"]}
    assert tags == {
        *("entangle-run", "entangle-owner", "entangle-expires", "entangle-task")
    }


def test_what_it_prints_is_in_its_log_at_the_service(client):
    @there()
    def speak():
        print("to whom it may concern")

    speak()()
    logs = client("logs")

    def messages():
        found = logs.filter_log_events(logGroupName="/entangle/fargate")
        return [event["message"] for event in found["events"]]

    until(lambda: "stdout 1: to whom it may concern" in messages())


def test_much_output(capfd):
    """10 MB: each line once, in order, by the log or by the answer."""

    @there()
    def chatty():
        for number in range(10_000):
            print(f"{number:0999}")
        return "said"

    assert chatty()() == "said"
    assert capfd.readouterr().out == "".join(f"{n:0999}\n" for n in range(10_000))


def test_in_a_graph_beside_local_tasks():
    @process
    def two():
        return 2

    @there()
    def double(number):
        return 2 * number

    assert process(sum)([double(two()), double(3)])() == 10


def test_a_body_that_runs_out_of_memory():
    """The body dies, its supervisor tells."""

    @there(ram="512MB")
    def eat():
        data = []
        while True:
            data.append(bytearray(os.urandom(1 << 20)) * 16)

    with pytest.raises(ProcessTerminatedException) as caught:
        eat()()
    assert caught.value.out_of_memory


def test_a_timeout_stops_the_task(aws_server):
    @process(timeout=1)
    @there()
    def slow():
        time.sleep(100)

    with pytest.raises(ProcessTimeoutException):
        slow()()
    shutdown()
    until(lambda: not aws_server.containers())


def test_a_cancel_stops_the_task(aws_server):
    @there()
    def slow():
        time.sleep(100)

    future = slow().submit()
    until(lambda: [c for c in aws_server.containers() if c.status == "running"])
    future.cancel()
    until(lambda: not aws_server.containers())


def test_capacity_that_is_reclaimed(aws_server):
    @there(spot=True)
    def slow():
        time.sleep(100)

    future = slow().submit()
    until(lambda: [c for c in aws_server.containers() if c.status == "running"])
    aws_server.tasks.kill()
    with pytest.raises(JobLostError) as caught:
        future.result(SECONDS)
    assert ":task/" in caught.value.resource


def test_an_image_that_is_not_there():
    with pytest.raises(JobLostError, match="CannotPullContainerError"):
        aws(keys=[])(fargate(image="no.such/image:1")(abs))(1)()


def test_an_image_without_a_python():
    with pytest.raises(JobLostError, match="python4"):
        there(python="python4")(abs)(1)()


def test_a_cluster_that_is_not_there():
    with pytest.raises(AwsError, match="nowhere") as caught:
        there(cluster="nowhere")(abs)(1)()
    assert caught.value.resource == "cluster nowhere"


def test_no_capacity_is_waited_for(monkeypatch):
    from entangle.aws import _fargate

    refusals = [PlaceBusyError("Capacity is unavailable at this time")] * 2
    create = _fargate.FargateExecutor.create

    def busy(self, job):
        if refusals:
            raise refusals.pop()
        return create(self, job)

    monkeypatch.setattr(_fargate.FargateExecutor, "create", busy)
    assert there()(abs)(-3)() == 3
    assert not refusals


def test_a_budget_ends_what_runs(aws_server):
    @there()
    def slow():
        time.sleep(100)

    # A minute is billed at least; beyond it the price grows with each second.
    with pytest.raises(Exception, match="budget"), budget(usd=0.0001):
        gather(*[slow() for _ in range(3)])()
    until(lambda: not aws_server.containers())


CLIENT = f"""
import time
from entangle.aws import aws, fargate

@aws(keys=[])
@fargate(image={IMAGE!r})
def wait():
    time.sleep(100)

wait()()
"""


def test_sweeping_after_a_client_that_was_killed(aws_server, client, capsys):
    """`entangle sweep aws` finds what it has left, and removes it."""
    with subprocess.Popen([sys.executable, "-c", CLIENT]) as caller:
        # From here on the job writes nothing more that a sweep might come before.
        until(lambda: any(key.endswith(".started") for key in objects(client)))
        caller.kill()
    assert main(["sweep", "aws", "--dry-run"]) == 0
    found = capsys.readouterr().out
    assert "found job arn:aws:ecs:" in found
    assert "found objects s3://entangle-" in found
    assert main(["sweep", "aws"]) == 0
    assert "removed job arn:aws:ecs:" in capsys.readouterr().out
    until(lambda: not aws_server.containers())
    assert objects(client) == []
    assert main(["sweep", "aws", "--dry-run"]) == 0
    assert "0 leftovers" in capsys.readouterr().out


def test_doctor(client, role):
    from entangle.aws import _doctor

    iam = client("iam")
    iam.create_role(RoleName="ecsTaskExecutionRole", AssumeRolePolicyDocument="{}")
    found = {each.subject: each for each in _doctor.findings()}
    assert all(each.verdict == "ok" for each in found.values()), found
    assert "account 123456789012, region us-east-1" in found["aws"].text
    assert set(found) == {"aws", "aws s3", "aws lmbda", "aws fargate", "aws ec2"}
