"""Tasks on AWS EC2: each call is an instance of its own, which ends with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence  # noqa: TC003 - options are checked by it
from typing import TYPE_CHECKING, Any, ClassVar

from entangle.backend import JobState, Pace

from . import _ec2_machines, _versions
from ._account import HERE, Account
from ._checks import check
from ._ec2_machines import Machines, Wish
from ._place import AwsExecutor
from ._ways import Via  # noqa: TC001 - options are checked by it

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from entangle.backend import FoundJob, Job


class Ec2Executor(AwsExecutor):
    """Runs each call in an instance of EC2 that is started for it and ends with it.

    The image needs a Python from 3.9 on, a shell that runs user data, and a way to S3;
    nothing has to reach it. It terminates itself when its call is over, and at its
    ``lifetime`` at the latest, whatever became of the client.

    Args:
        via: How instances are reached: ``"job"`` for an instance for each call,
            ``"ssm"`` for instances that stay for more calls; ``"auto"`` for the second
            where it is possible.
        ami: The image; by default the newest Amazon Linux 2023, looked up in SSM.
        instance_type: The type of the instance.
        python: What its Python is called.
        subnet: The subnet; empty for one of the default VPC.
        security_groups: The security groups; by default one that lets nothing in.
        public_ip: Whether it gets a public address; by default what its subnet says.
        instance_profile: The instance profile, by name; empty for none: none is needed.
        spot: Whether spare capacity is used: cheaper, and it may be taken away.
        disk: GB of its disk; 0 for what the image says.
        bucket: The bucket; empty for ``entangle-ACCOUNT-REGION``, made if need be.
        lifetime: Seconds after which an instance ends.
    """

    # Instances take half a minute to boot: nothing is missed by asking seldom.
    pace: ClassVar[Pace] = Pace(first=1.0, factor=1.3, most=10.0)
    patience: ClassVar[float] = 600.0
    end_batch: ClassVar[int] = 100
    enders: int = 4

    def __init__(
        self,
        *,
        aws: Account = HERE,
        via: Via = "auto",
        ami: str = "",
        instance_type: str = "t3.small",
        python: str = "python3",
        subnet: str = "",
        security_groups: Sequence[str] = (),
        public_ip: bool | None = None,
        instance_profile: str = "",
        spot: bool = False,
        disk: int = 0,
        bucket: str = "",
        lifetime: float = 21_600.0,
    ) -> None:
        super().__init__(aws, bucket, lifetime)
        del via  # it has led here
        self._python = python
        # If it is another, the first call finds out.
        self.python = _versions.of_name(python)
        if not ami and python == "python3":
            self.python = _versions.AMAZON_LINUX
        wish = Wish(
            ami=ami,
            instance_type=instance_type,
            python=python,
            subnet=subnet,
            security_groups=tuple(security_groups),
            public_ip=public_ip,
            instance_profile=instance_profile,
            spot=spot,
            disk=disk,
        )
        self._machines = Machines(self._session, wish)

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse what types can't tell.

        Raises:
            ValueError: An option has an unusable value.
        """
        _ec2_machines.check_wish(**options)
        check(options)

    @property
    def name(self) -> str:
        """What the place is called in messages."""
        return "ec2"

    def create(self, job: Job) -> str:
        """Start an instance.

        Raises:
            PlaceBusyError: There is no capacity now, or a quota is used up.
        """
        lines = [
            f"export {name}={shlex.quote(value)}"
            for name, value in job.environment.items()
        ]
        lines.append(shlex.join([self._python, *job.command]))
        work = "\n".join(lines)
        return self._machines.launch(job.name, job.task, job.tags, work, job.expires)

    def poll(self, handles: Sequence[str]) -> Mapping[str, JobState]:
        """Ask after instances, with one request."""
        found = self._machines.described(*handles)
        return {each["InstanceId"]: _state(each) for each in found}

    def delete(self, handle: str, *, over: bool) -> bool:
        """Terminate an instance."""
        if over:
            return True  # it is about to shut down
        return self._machines.end(handle)

    def end(self, handles: Sequence[str]) -> Mapping[str, bool]:
        """Terminate instances, with one request."""
        return self._machines.end_all(handles)

    def find(self) -> Iterator[FoundJob]:
        """Find the instances that carry tags of Entangle's."""
        return self._machines.found()


def _state(instance: Mapping[str, Any]) -> JobState:
    why = _ec2_machines.reason(instance)
    name = instance["State"]["Name"]
    if name in {"pending", "running"}:
        # That it runs says nothing of its job, which tells by itself that it has begun.
        return JobState("waiting", why)
    if name in {"shutting-down", "stopping"}:
        return JobState("running", why)
    command = f"aws ec2 get-console-output --instance-id {instance['InstanceId']}"
    return JobState("ended", f"{why}; `{command}` may say more")
