"""Instances of EC2: started as an option list says, asked after, found, ended."""

from __future__ import annotations

import math
import re
import shlex
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle.backend import FoundJob

from . import _sdk
from ._checks import check_given
from ._ec2_group import NO_GROUP, ClosedGroup
from ._fresh import Fresh
from ._settling import Settling
from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ._sdk import Session

_PARAMETER: Final = (
    "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}"
)
_ARM: Final = re.compile(r"[a-z]+[0-9]+g|a1\.")
_LIVING: Final = ("pending", "running", "shutting-down", "stopping", "stopped")
_GONE: Final = frozenset(("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"))
_MOST_DATA: Final = 16_384  # bytes of user data, says AWS
_LINES: Final = 15  # of what an instance has printed

# What an instance does when it has booted. Its own shutdown terminates it, so nothing
# but itself is needed for its end: when it has done its work, and at its expiry at the
# latest, for which there are two timers, since not every system has the first.
_SCRIPT: Final = """#!/bin/sh
over() {{ shutdown -h now || poweroff -f; }}
shutdown -P +{minutes}
(sleep {seconds}; over) >/dev/null 2>&1 &
if {python} -c 'import sys; sys.exit(sys.version_info < (3, 9))'; then
{work}
else
echo "entangle: this image has no {python}, or one older than 3.9"
fi
over
"""


class Wish(NamedTuple):
    """What an instance is to be like; see `Ec2Executor` for each.

    Attributes:
        ami: The image.
        instance_type: The type.
        python: What its Python is called.
        subnet: The subnet.
        security_groups: The security groups.
        public_ip: Whether they get a public address; None for what the subnet says.
        instance_profile: The instance profile, by name or ARN.
        spot: Whether spare capacity is used.
        disk: GB of its disk.
    """

    ami: str = ""
    instance_type: str = "t3.small"
    python: str = "python3"
    subnet: str = ""
    security_groups: tuple[str, ...] = ()
    public_ip: bool | None = None
    instance_profile: str = ""
    spot: bool = False
    disk: int = 0


def check_wish(
    *,
    ami: str = "",
    instance_type: str = "t3.small",
    python: str = "python3",
    disk: int = 0,
    lifetime: float = 1.0,
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
    check_given("python", python)
    if disk < 0:
        raise ValueError(f"disk must be a number of GB, not {disk}")
    if lifetime <= 0:
        raise ValueError(f"lifetime must be more than 0 seconds, not {lifetime:g}")


class Machines:
    """The instances of one wish. Thread-safe.

    Args:
        session: The account.
        wish: What they are to be like.
    """

    def __init__(self, session: Session, wish: Wish) -> None:
        self._session = session
        self._wish = wish
        self._lock = threading.Lock()
        self._ami = wish.ami
        self._group = ClosedGroup(session, wish.subnet)
        self._fresh = Fresh()
        self._settling = Settling()

    def launch(
        self, name: str, task: str, tags: Mapping[str, str], work: str, expires: float
    ) -> str:
        """Start an instance and return its identifier.

        Args:
            name: Its name.
            task: The task that it is started for.
            tags: What it has to carry, with its disk.
            work: Lines of a shell that it runs, and then ends.
            expires: When it ends in any case, in seconds since the epoch.

        Raises:
            PlaceBusyError: There is no capacity now, or a quota is used up.
            AwsError: It can't be had for another reason.
        """
        wish = self._wish
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        listed.append({"Key": "Name", "Value": name})
        kinds = ["instance", "volume"]
        options: dict[str, Any] = {
            "ImageId": self._image(),
            "InstanceType": wish.instance_type,
            "MinCount": 1,
            "MaxCount": 1,
            "ClientToken": _sdk.token(name),
            "UserData": self._user_data(work, expires),
            "InstanceInitiatedShutdownBehavior": "terminate",
            "TagSpecifications": [{"ResourceType": k, "Tags": listed} for k in kinds],
            "MetadataOptions": {"HttpTokens": "required"},
        }
        if wish.instance_profile:
            kind = "Arn" if wish.instance_profile.startswith("arn:") else "Name"
            options["IamInstanceProfile"] = {kind: wish.instance_profile}
        if wish.spot:
            once = {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
            }
            options["InstanceMarketOptions"] = {
                "MarketType": "spot",
                "SpotOptions": once,
            }
        if wish.disk:
            disk = {"VolumeSize": wish.disk, "DeleteOnTermination": True}
            options["BlockDeviceMappings"] = [
                {"DeviceName": self._root(options["ImageId"]), "Ebs": disk}
            ]
        options |= self._network()
        about = f"{'spot ' if wish.spot else ''}{wish.instance_type} for {task}"
        try:
            started = self._run(options, about)
        except AwsError as error:
            if error.code != NO_GROUP or wish.security_groups:
                raise
            # Somebody has deleted it since it was looked at.
            self._group.doubt()
            options |= self._network()
            options["ClientToken"] = _sdk.token(name)
            started = self._run(options, about)
        return self._fresh.made(started)

    def rehearse(self) -> None:
        """Ask for an instance, and have none started.

        Raises:
            AwsError: Says whether it could be, with the code ``DryRunOperation``.
        """
        options = {"ImageId": self._image(), "InstanceType": self._wish.instance_type}
        with self._asking(self._wish.instance_type):
            self._client.run_instances(MinCount=1, MaxCount=1, DryRun=True, **options)

    def described(self, *names: str) -> Iterator[dict[str, Any]]:
        """Yield what EC2 says of instances, with one request; the unknown are left out."""
        # By a filter: one that is not known any more must not spoil the answer.
        yield from self._filtered([{"Name": "instance-id", "Values": [*names]}])

    def end(self, name: str) -> bool:
        """Terminate an instance; tell whether it is over. EC2 forgets it by itself."""
        return self._fresh.ended(name, self._terminated)

    def end_all(self, names: Sequence[str]) -> dict[str, bool]:
        """Terminate instances, with one request; tell of each whether it is over."""
        if len(names) == 1:
            return {names[0]: self.end(names[0])}
        try:
            return self._told(names)
        except AwsError as error:
            if error.code not in _GONE:
                raise
            # None was ended. It names those that are not there, or not yet.
            there = [name for name in names if name not in error.reason]
        several = 0 < len(there) < len(names)
        over = self.end_all(there) if several else {}
        return over | {name: self.end(name) for name in names if name not in over}

    def _terminated(self, name: str) -> bool | None:
        """Terminate an instance; tell whether it is over, None if it is not there."""
        try:
            return self._told([name]).get(name, False)
        except AwsError as error:
            if error.code in _GONE:
                return None
            raise

    def _told(self, names: Sequence[str]) -> dict[str, bool]:
        """Have instances terminated, with one request; tell of each if it is over."""
        about = names[0] if len(names) == 1 else f"{len(names)} instances"
        with self._asking(about):
            answer = self._client.terminate_instances(InstanceIds=[*names])
        changed: list[dict[str, Any]] = answer.get("TerminatingInstances") or []
        return {
            each["InstanceId"]: each.get("CurrentState", {}).get("Name") == "terminated"
            for each in changed
        }

    def found(self) -> Iterator[FoundJob]:
        """Find the instances that carry tags of Entangle's, whoever has made them."""
        wanted = [
            {"Name": "tag-key", "Values": ["entangle-owner"]},
            {"Name": "instance-state-name", "Values": [*_LIVING]},
        ]
        now = time.time()
        for each in self._filtered(wanted):
            tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", ())}
            age = max(0.0, now - each["LaunchTime"].timestamp())
            if each["State"]["Name"] != "shutting-down":
                yield FoundJob(each["InstanceId"], tags, age)

    def printed(self, name: str) -> str:
        """Return the last lines of an instance's console, if they are to be had."""
        try:
            with self._asking(name):
                found = self._client.get_console_output(InstanceId=name, Latest=True)
        except Exception:  # noqa: BLE001 - it is of use, not needed: some have none
            return ""
        # The SDK has decoded it.
        lines = str(found.get("Output") or "").splitlines()
        return "\n".join(line.rstrip() for line in lines[-_LINES:])

    @property
    def _client(self) -> Any:
        return self._session.client("ec2")

    def _asking(self, resource: str) -> Any:
        return _sdk.asking("ec2", resource)

    def _filtered(self, filters: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("describe_instances")
        with self._asking("instances"):
            for page in pages.paginate(Filters=filters):
                for reservation in page["Reservations"]:
                    yield from reservation["Instances"]

    def _run(self, options: dict[str, Any], about: str) -> str:
        with self._settling.known(), self._asking(about):
            answer = self._client.run_instances(**options)
        return str(answer["Instances"][0]["InstanceId"])

    def _image(self) -> str:
        """Return the image, looked up once if none was named."""
        with self._lock:
            if not self._ami:
                arm = _ARM.match(self._wish.instance_type) is not None
                architecture = "arm64" if arm else "x86_64"
                name = _PARAMETER.format(architecture=architecture)
                with _sdk.asking("ssm", name):
                    found = self._session.client("ssm").get_parameter(Name=name)
                self._ami = str(found["Parameter"]["Value"])
            return self._ami

    def _root(self, image: str) -> str:
        """Return what the disk of an image is called, which differs."""
        with self._asking(image):
            found = self._client.describe_images(ImageIds=[image])["Images"]
        return str(found[0]["RootDeviceName"]) if found else "/dev/xvda"

    def _network(self) -> dict[str, Any]:
        """Return where an instance is, and who reaches it."""
        wish = self._wish
        where = {"SubnetId": wish.subnet} if wish.subnet else {}
        groups = [*(wish.security_groups or (self._group.name(),))]
        if wish.public_ip is None:
            return {**where, "SecurityGroupIds": groups}
        # Then all of it is said of the interface, and not of the instance.
        about = {
            "DeviceIndex": 0,
            "AssociatePublicIpAddress": wish.public_ip,
            "DeleteOnTermination": True,
            "Groups": groups,
        }
        return {"NetworkInterfaces": [about | where]}

    def _user_data(self, work: str, expires: float) -> str:
        seconds = max(1, int(expires - time.time()))
        script = _SCRIPT.format(
            minutes=math.ceil(seconds / 60),
            seconds=seconds,
            python=shlex.quote(self._wish.python),
            work=work,
        )
        if len(script.encode()) > _MOST_DATA:
            raise AwsError(
                f"what its instance is told has {len(script.encode()):,} bytes, and "
                f"{_MOST_DATA:,} are allowed",
                service="ec2",
                operation="RunInstances",
            )
        return script


def over(instance: Mapping[str, Any]) -> bool:
    """Tell whether an instance runs no more, or is ending."""
    return instance["State"]["Name"] not in {"pending", "running"}


def reason(instance: Mapping[str, Any]) -> str:
    """Return why an instance is in its state, as EC2 says it."""
    said = instance.get("StateReason", {}).get("Message", "")
    return str(
        said or instance.get("StateTransitionReason") or instance["State"]["Name"]
    )
