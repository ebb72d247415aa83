"""Tasks on AWS EC2: each call is an instance of its own, which ends with it."""

from __future__ import annotations

import re
import shlex
import threading
import time
from collections.abc import Sequence  # noqa: TC003 - options are checked by it
from typing import TYPE_CHECKING, Any, ClassVar, Final

from entangle.backend import FoundJob, JobState, Pace

from . import _sdk
from ._account import HERE, Account
from ._place import AwsExecutor
from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from entangle.backend import Job

_PARAMETER: Final = (
    "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}"
)
_ARM: Final = re.compile(r"[a-z]+[0-9]+g")
_GROUP: Final = "entangle"
_LIVING: Final = ("pending", "running", "shutting-down", "stopping", "stopped")
_GONE: Final = frozenset(("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"))

# What an instance does when it has booted. Its own shutdown terminates it, so nothing
# but itself is needed for its end: when its job is over, and at its expiry at the latest.
_USER_DATA: Final = """#!/bin/sh
(sleep {seconds}; shutdown -h now) &
{variables}
{command}
shutdown -h now
"""


class Ec2Executor(AwsExecutor):
    """Runs each call in an instance of EC2 that is started for it and ends with it.

    The image needs a Python from 3.9 on, a shell that runs user data, and a way to S3;
    nothing has to reach it. It terminates itself when its call is over, and at its
    ``lifetime`` at the latest, whatever became of the client.

    Args:
        ami: The image; by default the newest Amazon Linux 2023, looked up in SSM.
        instance_type: The type of the instance.
        python: What its Python is called.
        subnet: The subnet; empty for one of the default VPC.
        security_groups: The security groups; by default one that lets nothing in.
        instance_profile: The instance profile, by name; empty for none: none is needed.
        spot: Whether spare capacity is used: cheaper, and it may be taken away.
        disk: GB of its disk; 0 for what the image says.
        bucket: The bucket; empty for ``entangle-ACCOUNT-REGION``, made if need be.
        lifetime: Seconds after which an instance ends.
    """

    # Instances take half a minute to boot: nothing is missed by asking seldom.
    pace: ClassVar[Pace] = Pace(first=1.0, factor=1.3, most=10.0)

    def __init__(
        self,
        *,
        aws: Account = HERE,
        ami: str = "",
        instance_type: str = "t3.small",
        python: str = "python3",
        subnet: str = "",
        security_groups: Sequence[str] = (),
        instance_profile: str = "",
        spot: bool = False,
        disk: int = 0,
        bucket: str = "",
        lifetime: float = 21_600.0,
    ) -> None:
        super().__init__(aws, bucket, lifetime)
        self._ami = ami
        self._type = instance_type
        self._interpreter = python
        self._subnet = subnet
        self._groups = tuple(security_groups)
        self._profile = instance_profile
        self._spot = spot
        self._disk = disk
        self._lock = threading.Lock()

    @classmethod
    def check_options(
        cls,
        *,
        ami: str = "",
        instance_type: str = "t3.small",
        disk: int = 0,
        lifetime: float = 21_600.0,
        **_: Any,
    ) -> None:
        """Refuse what types can't tell.

        Raises:
            ValueError: An option has an unusable value.
        """
        if ami and not re.fullmatch(r"ami-[A-Za-z0-9]+", ami):
            raise ValueError(f"ami must be like 'ami-0123456789abcdef0', not {ami!r}")
        if not re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", instance_type):
            raise ValueError(
                f"instance_type must be like 't3.small', not {instance_type!r}"
            )
        if disk < 0:
            raise ValueError(f"disk must be a number of GB, not {disk}")
        if lifetime <= 0:
            raise ValueError(f"lifetime must be more than 0 seconds, not {lifetime:g}")

    @property
    def name(self) -> str:
        """What the place is called in messages."""
        return "ec2"

    def create(self, job: Job) -> str:
        """Start an instance.

        Raises:
            PlaceBusyError: There is no capacity now, or a quota is used up.
        """
        tags = [{"Key": key, "Value": value} for key, value in job.tags.items()]
        tags.append({"Key": "Name", "Value": job.name})
        kinds = ["instance", "volume"]
        options: dict[str, Any] = {
            "ImageId": self._image(),
            "InstanceType": self._type,
            "MinCount": 1,
            "MaxCount": 1,
            "ClientToken": job.name,
            "UserData": self._user_data(job),
            "InstanceInitiatedShutdownBehavior": "terminate",
            "TagSpecifications": [{"ResourceType": k, "Tags": tags} for k in kinds],
            "SecurityGroupIds": [*self._security()],
            "MetadataOptions": {"HttpTokens": "required"},
        }
        if self._subnet:
            options["SubnetId"] = self._subnet
        if self._profile:
            options["IamInstanceProfile"] = {"Name": self._profile}
        if self._spot:
            once = {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
            }
            options["InstanceMarketOptions"] = {
                "MarketType": "spot",
                "SpotOptions": once,
            }
        if self._disk:
            disk = {"VolumeSize": self._disk, "DeleteOnTermination": True}
            options["BlockDeviceMappings"] = [{"DeviceName": "/dev/xvda", "Ebs": disk}]
        with self._asking(f"{self._type} for {job.task}"):
            answer = self._client.run_instances(**options)
        return str(answer["Instances"][0]["InstanceId"])

    def poll(self, handles: Sequence[str]) -> Mapping[str, JobState]:
        """Ask after instances, with one request."""
        # By a filter: one that is not known any more must not spoil the answer.
        wanted = [{"Name": "instance-id", "Values": [*handles]}]
        return {each["InstanceId"]: _state(each) for each in self._described(wanted)}

    def delete(self, handle: str, *, over: bool) -> bool:
        """Terminate an instance; EC2 forgets it by itself."""
        if over:
            return True  # it is about to shut down
        try:
            with self._asking(handle):
                answer = self._client.terminate_instances(InstanceIds=[handle])
        except AwsError as error:
            if error.code in _GONE:
                return True
            raise
        changed: list[dict[str, Any]] = answer.get("TerminatingInstances") or [{}]
        return bool(changed[0].get("CurrentState", {}).get("Name") == "terminated")

    def find(self) -> Iterator[FoundJob]:
        """Find the instances that carry tags of Entangle's."""
        wanted = [
            {"Name": "tag-key", "Values": ["entangle-owner"]},
            {"Name": "instance-state-name", "Values": [*_LIVING]},
        ]
        now = time.time()
        for each in self._described(wanted):
            tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", ())}
            age = max(0.0, now - each["LaunchTime"].timestamp())
            if each["State"]["Name"] != "shutting-down":
                yield FoundJob(each["InstanceId"], tags, age)

    @property
    def _client(self) -> Any:
        return self._session.client("ec2")

    def _asking(self, resource: str) -> Any:
        return _sdk.asking("ec2", resource)

    def _described(self, filters: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("describe_instances")
        with self._asking("instances"):
            for page in pages.paginate(Filters=filters):
                for reservation in page["Reservations"]:
                    yield from reservation["Instances"]

    def _image(self) -> str:
        """Return the image, looked up once if none was named."""
        with self._lock:
            if not self._ami:
                arm = _ARM.match(self._type) is not None
                architecture = "arm64" if arm else "x86_64"
                name = _PARAMETER.format(architecture=architecture)
                with _sdk.asking("ssm", name):
                    found = self._session.client("ssm").get_parameter(Name=name)
                self._ami = str(found["Parameter"]["Value"])
            return self._ami

    def _security(self) -> Sequence[str]:
        """Return the security groups; the one that lets nothing in is made once."""
        with self._lock:
            if not self._groups:
                self._groups = (self._group(),)
            return self._groups

    def _group(self) -> str:
        client = self._client
        vpc = self._vpc()
        wanted = [
            {"Name": "group-name", "Values": [_GROUP]},
            {"Name": "vpc-id", "Values": [vpc]},
        ]
        with self._asking(f"security group {_GROUP}"):
            found = client.describe_security_groups(Filters=wanted)["SecurityGroups"]
            if found:
                return str(found[0]["GroupId"])
        try:
            with self._asking(f"security group {_GROUP}"):
                made = client.create_security_group(
                    GroupName=_GROUP,
                    Description="Tasks of Entangle: nothing comes in",
                    VpcId=vpc,
                )
        except AwsError as error:
            if error.code != "InvalidGroup.Duplicate":
                raise
            return self._group()  # by another program, at this moment
        return str(made["GroupId"])

    def _vpc(self) -> str:
        with self._asking(f"subnet {self._subnet}" if self._subnet else "default VPC"):
            if self._subnet:
                found = self._client.describe_subnets(SubnetIds=[self._subnet])
                return str(found["Subnets"][0]["VpcId"])
            default = [{"Name": "is-default", "Values": ["true"]}]
            vpcs = self._client.describe_vpcs(Filters=default)["Vpcs"]
        if not vpcs:
            raise AwsError(
                "the region has no default VPC: name a subnet with @ec2(subnet=...)",
                service="ec2",
                operation="RunInstances",
            )
        return str(vpcs[0]["VpcId"])

    def _user_data(self, job: Job) -> str:
        variables = "\n".join(
            f"export {name}={shlex.quote(value)}"
            for name, value in job.environment.items()
        )
        return _USER_DATA.format(
            seconds=max(1, int(job.expires - time.time())),
            variables=variables,
            command=shlex.join([self._interpreter, *job.command]),
        )


def _state(instance: Mapping[str, Any]) -> JobState:
    name = instance["State"]["Name"]
    said = instance.get("StateReason", {}).get("Message", "")
    reason = str(said or instance.get("StateTransitionReason") or name)
    if name in {"pending", "running"}:
        # That it runs says nothing of its job, which tells by itself that it has begun.
        return JobState("waiting", reason)
    if name in {"shutting-down", "stopping"}:
        return JobState("running", reason)
    return JobState("ended", reason)
