"""Tasks on EC2: user data really executed in containers behind the stand-in."""

import pytest

from entangle.aws import aws, ec2
from entangle.errors import JobLostError, OptionError
from entangle.task import shutdown

pytestmark = [pytest.mark.integration, pytest.mark.process]


@pytest.fixture(autouse=True)
def _server(aws_server):
    pass


def states(client):
    found = client("ec2").describe_instances()["Reservations"]
    return [each["State"]["Name"] for one in found for each in one["Instances"]]


def test_bare(client, capfd):
    """The newest Amazon Linux, a group that lets nothing in, an end of its own."""

    @aws(keys=[])
    @ec2
    def double(number):
        print("doubling", number)
        return 2 * number

    assert double(21)() == 42
    assert capfd.readouterr().out == "doubling 21\n"
    shutdown()
    (reservation,) = client("ec2").describe_instances()["Reservations"]
    (instance,) = reservation["Instances"]
    assert instance["InstanceType"] == "t3.small"
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    assert {"entangle-run", "entangle-owner", "entangle-expires"} <= set(tags)
    (group,) = instance["SecurityGroups"]
    rules = client("ec2").describe_security_groups(GroupIds=[group["GroupId"]])
    assert rules["SecurityGroups"][0]["IpPermissions"] == []


def test_an_instance_that_is_taken_away(aws_server, client):
    import threading
    import time

    @ec2(spot=True)
    def wait():
        import time

        time.sleep(600)

    future = wait().submit()
    patience = time.monotonic() + 120
    while "running" not in states(client) and time.monotonic() < patience:
        threading.Event().wait(0.05)
    aws_server.instances.kill()
    with pytest.raises(JobLostError) as caught:
        future.result(120)
    assert caught.value.resource.startswith("i-")


@pytest.mark.parametrize(
    "options",
    [{"ami": "linux"}, {"instance_type": "large"}, {"disk": -1}, {"lifetime": 0.0}],
)
def test_options_are_checked_where_they_are_written(options):
    with pytest.raises(OptionError):
        ec2(**options)
