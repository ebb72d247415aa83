"""Tasks on EC2: user data really executed in containers behind the stand-in."""

import subprocess
import sys

import pytest
from life_kit import until
from moto.ec2.exceptions import EC2ClientError

from entangle._cli.main import main
from entangle.aws import aws, ec2
from entangle.aws._ec2 import Ec2Executor
from entangle.backend import Pace
from entangle.errors import JobError, JobLostError, OptionError
from entangle.task import shutdown

pytestmark = [pytest.mark.integration, pytest.mark.process]


@pytest.fixture(autouse=True)
def _server(aws_server):
    pass


def test_bare(client, capfd, instances):
    """The newest Amazon Linux, a group that lets nothing in, an end of its own."""

    @aws(keys=[])
    @ec2
    def double(number):
        print("doubling", number)
        return 2 * number

    assert double(21)() == 42
    assert capfd.readouterr().out == "doubling 21\n"
    shutdown()
    (instance,) = instances()
    assert instance["InstanceType"] == "t3.small"
    newest = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    parameter = client("ssm").get_parameter(Name=newest)["Parameter"]
    assert instance["ImageId"] == parameter["Value"]
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    assert {"entangle-run", "entangle-owner", "entangle-expires"} <= set(tags)
    (group,) = instance["SecurityGroups"]
    rules = client("ec2").describe_security_groups(GroupIds=[group["GroupId"]])
    assert rules["SecurityGroups"][0]["IpPermissions"] == []


def test_an_instance_that_is_taken_away(aws_server, instances):
    @ec2(spot=True)
    def wait():
        import time

        time.sleep(600)

    future = wait().submit()
    until(instances, 120)
    (name,) = [each["InstanceId"] for each in instances()]
    until(lambda: name in aws_server.instances.booted, 120)
    aws_server.instances.reclaim()
    with pytest.raises(JobLostError, match="Spot instance termination") as caught:
        future.result(120)
    assert caught.value.resource.startswith("i-")


def test_an_instance_that_never_boots(aws_server, monkeypatch, instances):
    """It is named, and terminated."""
    monkeypatch.setattr(Ec2Executor, "pace", Pace(0.05, 1.2, 0.5))
    monkeypatch.setattr(Ec2Executor, "patience", 1.0)
    aws_server.instances.boots = False
    with pytest.raises(JobError, match="has not begun for 1 s") as caught:
        ec2(abs)(-1)()
    assert caught.value.resource.startswith("i-")
    until(lambda: "running" not in instances.states(), 60)


def test_an_instance_that_hears_nothing_and_a_client_that_is_killed(
    aws_server, instances, capsys
):
    """Its image runs no user data: nothing in it ends it, so a sweep has to."""
    aws_server.instances.boots = False
    program = "from entangle.aws import ec2\nec2(abs)(-1)()\n"
    with subprocess.Popen([sys.executable, "-c", program]) as caller:
        until(lambda: "running" in instances.states(), 120)
        caller.kill()
    assert instances.left() == ["running"]
    (name,) = [each["InstanceId"] for each in instances()]
    assert main(["sweep", "aws"]) == 0
    assert f"removed job {name}" in capsys.readouterr().out
    until(lambda: not instances.left(), 60)


def test_a_quota_that_is_used_up(aws_server):
    """The instance is started when there is room."""
    error = EC2ClientError("VcpuLimitExceeded", "You have requested more vCPUs.")
    aws_server.instances.busy = error
    future = ec2(abs)(-1).submit()
    until(lambda: aws_server.instances.refused, 60)
    aws_server.instances.busy = None
    assert future.result(120) == 1


def test_a_network_that_comes_back(proxy):
    """The answer waits in its instance."""

    @ec2
    def double(number):
        return 2 * number

    proxy.lose(".answer", times=6)
    assert double(21)() == 42
    assert proxy.losses(".answer") == 0


def test_an_instance_that_loses_its_network(proxy, instances, monkeypatch):
    """It waits until its lifetime is over; what can't be told is a loss that names it."""
    monkeypatch.setattr(Ec2Executor, "pace", Pace(0.1, 1.2, 1.0))

    @ec2(lifetime=15.0)
    def double(number):
        return 2 * number

    proxy.lose(".answer")
    with pytest.raises(JobLostError) as caught:
        double(21)()
    (instance,) = instances()
    assert caught.value.resource == instance["InstanceId"]
    command = f"get-console-output --instance-id {instance['InstanceId']}"
    assert command in str(caught.value)
    assert instances.states() == ["terminated"]


@pytest.mark.parametrize("megabytes", [10, 48])
def test_much_output(capfd, megabytes):
    """Up to 16 MB, then it is said what is missing; the rest takes no memory."""

    @ec2
    def chatty(lines):
        import os

        for number in range(lines):
            print(f"{number:0999}")
        with open(f"/proc/{os.getppid()}/status") as file:
            peak = next(line for line in file if line.startswith("VmHWM"))
        return int(peak.split()[1]) << 10

    peak = chatty(megabytes * 1000)()
    out, err = capfd.readouterr()
    if megabytes == 10:
        assert out.startswith("".join(f"{number:0999}\n" for number in range(10_000)))
        assert "left out" not in err
    else:
        whole = f"{0:0999}\n{1:0999}\n"
        assert out.startswith(whole)
        assert 16 << 20 <= len(out) < 17 << 20
        assert f"{megabytes * 1_000_000 - (16 << 20):,} bytes of output are" in err
    assert peak < 80 << 20


def test_an_image_without_a_python():
    """It ends by itself, and the error says where to look."""
    with pytest.raises(JobLostError, match="get-console-output --instance-id i-"):
        ec2(python="python9")(abs)(-1)()


@pytest.mark.parametrize(
    "options",
    [{"ami": "linux"}, {"instance_type": "large"}, {"disk": -1}, {"lifetime": 0.0}],
)
def test_options_are_checked_where_they_are_written(options):
    with pytest.raises(OptionError):
        ec2(**options)
