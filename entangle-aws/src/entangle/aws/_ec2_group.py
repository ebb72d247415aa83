"""The security group that instances are in by default: it lets nothing in."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from . import _sdk
from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._sdk import Session

NO_GROUP: Final = "InvalidGroup.NotFound"
"""What EC2 says of a group that is not there."""

_NAME: Final = "entangle"
_HOLDS: Final = 60.0  # seconds until it is looked at again, while instances are started
_ALL: Final = "-1"  # protocols
_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds until others see what was made
_MADE: Final = "InvalidGroup.Duplicate"


class ClosedGroup:
    """The group of a network that lets nothing in, made if need be. Thread-safe.

    Args:
        session: The account.
        subnet: A subnet of the network; empty for the default VPC.
    """

    def __init__(self, session: Session, subnet: str) -> None:
        self._session = session
        self._subnet = subnet
        self._lock = threading.Lock()
        self._vpc = ""
        self._found = ""
        self._looked = -math.inf  # when that was

    def name(self) -> str:
        """Return its identifier; it is looked at once a minute at most.

        Raises:
            AwsError: It lets something in, or can't be made.
        """
        with self._lock:
            if time.monotonic() - self._looked >= _HOLDS:
                self._found = self._look()
                self._looked = time.monotonic()
            return self._found

    def doubt(self) -> None:
        """Have it looked at when it is next needed: it may not be there any more."""
        self._looked = -math.inf

    @property
    def _client(self) -> Any:
        return self._session.client("ec2")

    def _look(self) -> str:
        self._vpc = self._vpc or self._network()
        pauses = iter(_PAUSES)
        while not (found := self._known()):
            try:
                return self._made()
            except AwsError as error:
                # By another program, at this moment.
                pause = next(pauses, 0.0)
                if error.code != _MADE or not pause:
                    raise
            time.sleep(pause)
        return found

    def _known(self) -> str:
        wanted = [
            {"Name": "group-name", "Values": [_NAME]},
            {"Name": "vpc-id", "Values": [self._vpc]},
        ]
        with _sdk.asking("ec2", f"security group {_NAME}"):
            found = self._client.describe_security_groups(Filters=wanted)
        for each in found["SecurityGroups"]:
            # Anybody may have made it, or changed it.
            if each["IpPermissions"]:
                raise _opened(each["GroupId"], each["IpPermissions"])
            return str(each["GroupId"])
        return ""

    def _made(self) -> str:
        client = self._client
        with _sdk.asking("ec2", f"security group {_NAME}"):
            made = client.create_security_group(
                GroupName=_NAME,
                Description="Tasks of Entangle: nothing comes in",
                VpcId=self._vpc,
            )
            name = str(made["GroupId"])
            # It is not known everywhere at once.
            client.get_waiter("security_group_exists").wait(GroupIds=[name])
        return name

    def _network(self) -> str:
        subnet = self._subnet
        with _sdk.asking("ec2", f"subnet {subnet}" if subnet else "default VPC"):
            if subnet:
                found = self._client.describe_subnets(SubnetIds=[subnet])
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


def _opened(name: str, rules: Sequence[Mapping[str, Any]]) -> AwsError:
    several = ", ".join(map(_rule, rules))
    return AwsError(
        f"it lets something in ({several}), and @ec2 takes it for one that does not: "
        "remove its inbound rules, or say which groups you want, this one or others, "
        f"with @ec2(security_groups=[{name!r}])",
        service="ec2",
        operation="RunInstances",
        resource=f"security group {_NAME} ({name})",
    )


def _rule(rule: Mapping[str, Any]) -> str:
    """Return what an inbound rule lets in, in a few words."""
    protocol, first, last = (
        rule.get(each) for each in ("IpProtocol", "FromPort", "ToPort")
    )
    if protocol == _ALL:
        return "everything"
    if first is None:
        return str(protocol)
    return f"{protocol} {first}" if first == last else f"{protocol} {first}-{last}"
