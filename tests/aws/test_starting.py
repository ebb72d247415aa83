"""What is asked for to start a task or an instance: against the books alone."""

import re
import threading
import time
from functools import partial

import pytest

from entangle.aws import AwsError, _sdk
from entangle.aws._ec2 import Ec2Executor
from entangle.aws._ec2_session import Key
from entangle.aws._ec2_stream import Ec2StreamExecutor
from entangle.aws._fargate import FargateExecutor
from entangle.aws.errors import PassingError
from entangle.backend import Job, Pace
from entangle.errors import PlaceBusyError

pytestmark = pytest.mark.usefixtures("books")
JOB = Job("entangle-abc-1", "f", b"", (), {}, {}, time.time() + 60, None, "")
NOT_SETTLED = [
    (
        partial(Ec2Executor, instance_profile="entangle"),
        "RunInstances",
        "InvalidParameterValue",
        (
            "Value (entangle) for parameter iamInstanceProfile.name is invalid. Invalid IAM "
            "Instance Profile name"
        ),
    ),
    (
        partial(FargateExecutor, security_groups=["sg-1"]),
        "RunTask",
        "ClientException",
        (
            "ECS was unable to assume the role 'arn:aws:iam::1:role/ecsTaskExecutionRole' "
            "that was provided for this task."
        ),
    ),
    (
        partial(FargateExecutor, security_groups=["sg-1"]),
        "RunTask",
        "InvalidParameterException",
        (
            "Unable to assume the service linked role. Please verify that the ECS service "
            "linked role exists."
        ),
    ),
]


@pytest.mark.parametrize(("executor", "operation", "code", "text"), NOT_SETTLED)
def test_what_was_just_made_in_iam_is_waited_for(
    proxy, client, monkeypatch, executor, operation, code, text
):
    """For a minute; then it is said what it is."""
    client("ecs").create_cluster(clusterName="default")
    client("iam").create_instance_profile(InstanceProfileName="entangle")
    refusal = proxy.refuse(operation, code, text, times=2)
    with executor() as place:
        for _ in range(2):
            with pytest.raises(PassingError, match=re.escape(text)):
                place.create(JOB)
        assert place.create(JOB)
        assert refusal.left == [0]
        proxy.refuse(operation, code, text)
        monkeypatch.setattr("entangle.aws._settling._PATIENCE", 0.0)
        with pytest.raises(AwsError, match="who may assume it") as caught:
            place.create(JOB)
    assert text in str(caught.value)
    assert caught.value.code == code


def test_a_role_that_spare_capacity_needs(proxy):
    code = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
    proxy.refuse("RunInstances", code, status=403)
    with Ec2Executor(spot=True) as place, pytest.raises(AwsError) as caught:
        place.create(JOB)
    assert caught.value.action == "iam:CreateServiceLinkedRole"


@pytest.mark.parametrize("subnet", [True, False])
@pytest.mark.parametrize("public", [True, False, None])
def test_public_addresses(proxy, client, subnet, public):
    """By default the subnet says, and nothing is asked for."""
    found = client("ec2").describe_subnets()["Subnets"][0]["SubnetId"] * subnet
    with Ec2Executor(subnet=found, public_ip=public) as place:
        assert place.create(JOB)
    (asked,) = [each.form for each in proxy.asked if each.operation == "RunInstances"]
    said = "NetworkInterface.1."
    if public is None:
        assert asked.get("SubnetId", "") == found
        assert asked["SecurityGroupId.1"].startswith("sg-")
        assert not [each for each in asked if each.startswith(said)]
        return
    assert asked[f"{said}AssociatePublicIpAddress"] == str(public).lower()
    assert asked[f"{said}DeviceIndex"] == "0"
    assert asked.get(f"{said}SubnetId", "") == found
    assert asked[f"{said}SecurityGroupId.1"].startswith("sg-")
    # EC2 does not take both.
    assert not {"SubnetId", "SecurityGroupId.1"}.intersection(asked)


@pytest.mark.parametrize(
    ("code", "waits"),
    [("RequestLimitExceeded", True), ("InsufficientInstanceCapacity", False)],
)
def test_instances_that_stay_when_ec2_is_busy(proxy, monkeypatch, code, waits):
    """Throttling passes; of quotas and capacity nobody knows when."""
    monkeypatch.setattr(_sdk, "_TRIES", 1)
    monkeypatch.setattr(Ec2StreamExecutor, "pace", Pace(0.01, 1.0, 0.01))
    refusal = proxy.refuse("RunInstances", code, times=3)
    with Ec2StreamExecutor() as place:
        if waits:
            place._launched(Key(), threading.Event()).end()
            assert refusal.left == [0]
            proxy.refuse("RunInstances", code)
            unwanted = threading.Event()
            unwanted.set()
            with pytest.raises(AwsError, match="nobody waits"):
                place._launched(Key(), unwanted)
            monkeypatch.setattr("entangle.aws._ec2_stream._BOOT", -1.0)
        with pytest.raises(PlaceBusyError, match=code):
            place._launched(Key(), threading.Event())
