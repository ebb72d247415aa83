"""Tasks on AWS Fargate: each call is an ECS task of its own."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import warnings
from collections.abc import Sequence  # noqa: TC003 - options are checked by it
from typing import TYPE_CHECKING, Any, ClassVar, Final

from entangle.backend import Capabilities, FoundJob, JobState, Pace
from entangle.errors import PlaceBusyError

from . import _sdk, _versions
from ._account import HERE, Account
from ._checks import check, check_given
from ._fresh import Fresh
from ._logs import LogGroup
from ._place import AwsExecutor
from ._settling import Settling
from ._sizes import fitted
from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from entangle.backend import Job, LogPiece

_STARTED_BY: Final = "entangle"
_CONTAINER: Final = "task"
_GROUP: Final = "/entangle/fargate"
_MOST_TOLD: Final = 8192  # characters of all that is other than in the definition
_STOP: Final = 10  # seconds from SIGTERM to SIGKILL
_STATES: Final = {
    "PROVISIONING": "waiting",
    "PENDING": "waiting",
    "ACTIVATING": "waiting",
    "STOPPED": "ended",
}
_NOT_THERE: Final = "was not found"
_DEFINITION: Final = "efinition"  # in what is said of one that is not there
_NO_LOG: Final = "log group does not exist"
_BUSY: Final = ("Capacity is unavailable", "RESOURCE:", "limit", "AGENT")


class FargateExecutor(AwsExecutor):
    """Runs each call as a task of ECS on Fargate, in an image with any Python from 3.9.

    Cluster, subnets and roles are named, not made. Values go by a bucket. What a call
    prints is followed in CloudWatch's log group ``/entangle/fargate`` while it runs.

    Args:
        ram: Memory: ``"2GB"``, ``"512MB"``. It is raised, with a warning, to the least
            that goes with ``cpu``.
        cpu: vCPUs: 0.25, 0.5, 1, 2, 4, 8 or 16. Or a word for the architecture:
            ``"X86_64"``, ``"ARM64"``, ``"Xeon"``, ``"EPYC"``, ``"Graviton"``.
        image: A container image that has a Python; by default the official one of the
            version that runs here.
        python: What that is called in the image.
        cluster: The cluster.
        subnets: The subnets, with a way to S3; empty for those of the default VPC.
        security_groups: The security groups; empty for the VPC's own.
        public_ip: Whether the task gets a public address: needed in public subnets.
        execution_role: The role that ECS pulls the image and writes the log with.
        task_role: The role that the task itself has; empty for none: it needs none.
        spot: Whether spare capacity is used: cheaper, and it may be taken away.
        bucket: The bucket; empty for ``entangle-ACCOUNT-REGION``, made if need be.
        lifetime: Seconds after which a task ends itself, whatever became of its client.
    """

    capabilities: ClassVar[Capabilities] = AwsExecutor.capabilities._replace(
        output=True
    )
    # Tasks take half a minute to begin: nothing is missed by asking seldom.
    pace: ClassVar[Pace] = Pace(first=1.0, factor=1.3, most=10.0)
    batch: ClassVar[int] = 100

    def __init__(
        self,
        *,
        aws: Account = HERE,
        ram: str = "",
        cpu: float | str = "",
        image: str = "",
        python: str = "python3",
        cluster: str = "default",
        subnets: Sequence[str] = (),
        security_groups: Sequence[str] = (),
        public_ip: bool = True,
        execution_role: str = "ecsTaskExecutionRole",
        task_role: str = "",
        spot: bool = False,
        bucket: str = "",
        lifetime: float = 86_400.0,
    ) -> None:
        super().__init__(aws, bucket, lifetime)
        self._size = fitted(ram, cpu)
        self._image = image or _versions.image()
        self._interpreter = python
        # If it is another, the first call finds out.
        self.python = _versions.of_name(python) or _versions.of_image(self._image)
        self._cluster = cluster
        self._subnets = tuple(subnets)
        self._groups = tuple(security_groups)
        self._public = public_ip
        self._execution_role = execution_role
        self._task_role = task_role
        self._spot = spot
        self._log = LogGroup(self._session, _GROUP)
        self._lock = threading.Lock()
        self._definition = ""
        self._fresh = Fresh()
        self._settling = Settling()

    @classmethod
    def check_options(
        cls,
        *,
        ram: str = "",
        cpu: float | str = "",
        python: str = "python3",
        **options: Any,
    ) -> None:
        """Refuse what types can't tell, and say what is raised.

        Raises:
            ValueError: There is no such size, or an option has an unusable value.
        """
        check(options)
        check_given("python", python)
        warning = fitted(ram, cpu).warning()
        if warning:
            warnings.warn(warning, stacklevel=7)

    def create(self, job: Job) -> str:
        """Run a task.

        Raises:
            PlaceBusyError: There is no capacity now, or a quota is used up.
            AwsError: AWS refuses, or would.
        """
        self._log.ensure()
        network = {
            "subnets": [*self._networks()],
            "assignPublicIp": "ENABLED" if self._public else "DISABLED",
        }
        if self._groups:
            network["securityGroups"] = [*self._groups]
        environment = [
            {"name": name, "value": value} for name, value in job.environment.items()
        ]
        override = {
            "name": _CONTAINER,
            "command": [*job.command],
            "environment": environment,
        }
        overrides = {"containerOverrides": [override]}
        told = len(json.dumps(overrides))
        if told > _MOST_TOLD:
            raise self._error(
                "RunTask",
                f"what its task is told has {told:,} characters, and {_MOST_TOLD:,} are "
                "allowed: its addresses carry your session token, which is long; use "
                "credentials with a shorter one, or keys that don't expire",
            )
        provider = {"capacityProvider": "FARGATE_SPOT", "weight": 1}
        how: dict[str, Any] = (
            {"capacityProviderStrategy": [provider]}
            if self._spot
            else {"launchType": "FARGATE"}
        )
        wanted = {
            "cluster": self._cluster,
            "count": 1,
            "startedBy": _STARTED_BY,
            "networkConfiguration": {"awsvpcConfiguration": network},
            "overrides": overrides,
            "tags": [{"key": key, "value": value} for key, value in job.tags.items()],
            **how,
        }
        try:
            answer = self._run(job.name, wanted)
        except AwsError as error:
            if error.code != "ClientException" or _DEFINITION not in error.reason:
                raise
            # Somebody has deregistered it since it was looked for.
            self._definition = ""
            answer = self._run(job.name, wanted)
        if answer["tasks"]:
            return self._fresh.made(str(answer["tasks"][0]["taskArn"]))
        reasons = [str(each.get("reason", each)) for each in answer["failures"]]
        reason = "; ".join(reasons)
        if any(word in reason for word in _BUSY):
            raise PlaceBusyError(f"ECS cluster {self._cluster}: {reason}")
        raise self._error("RunTask", reason)

    def poll(self, handles: Sequence[str]) -> Mapping[str, JobState]:
        """Ask after tasks, with one request."""
        with self._asking():
            answer = self._client.describe_tasks(
                cluster=self._cluster, tasks=[*handles]
            )
        found = {each["taskArn"]: _state(each) for each in answer["tasks"]}
        if any(_NO_LOG in each.reason for each in found.values()):
            self._log.doubt()
        return found

    def log(self, cursors: Mapping[str, str]) -> Mapping[str, LogPiece]:
        """Read the streams of tasks: nearly always with one request."""
        streams = {_stream(handle): handle for handle in cursors}
        wanted = {stream: cursors[handle] for stream, handle in streams.items()}
        found = self._log.read(wanted)
        return {streams[stream]: piece for stream, piece in found.items()}

    def delete(self, handle: str, *, over: bool) -> bool:
        """Stop a task; ECS forgets those that have stopped by itself."""
        return over or self._fresh.ended(handle, self._stopped)

    def _stopped(self, handle: str) -> bool | None:
        """Stop a task; tell whether it is over, None if it is not there."""
        try:
            with self._asking(handle):
                answer = self._client.stop_task(
                    cluster=self._cluster, task=handle, reason="Entangle: not needed"
                )
        except AwsError as error:
            if _NOT_THERE in str(error):
                return None
            raise
        return bool(answer["task"]["lastStatus"] == "STOPPED")

    def find(self) -> Iterator[FoundJob]:
        """Find the cluster's tasks that were started so."""
        pages = self._client.get_paginator("list_tasks")
        now = time.time()
        with self._asking():
            for page in pages.paginate(cluster=self._cluster, startedBy=_STARTED_BY):
                if not page["taskArns"]:
                    continue
                found = self._client.describe_tasks(
                    cluster=self._cluster, tasks=page["taskArns"], include=["TAGS"]
                )
                for each in found["tasks"]:
                    tags = {tag["key"]: tag["value"] for tag in each.get("tags", ())}
                    begun = each.get("createdAt")
                    age = 0.0 if begun is None else max(0.0, now - begun.timestamp())
                    if each["lastStatus"] != "STOPPED":
                        yield FoundJob(each["taskArn"], tags, age)

    @property
    def _client(self) -> Any:
        return self._session.client("ecs")

    def _asking(self, resource: str = "") -> Any:
        return _sdk.asking("ecs", resource or f"cluster {self._cluster}")

    def _error(self, operation: str, reason: str) -> AwsError:
        return AwsError(
            reason,
            service="ecs",
            operation=operation,
            resource=f"cluster {self._cluster}",
        )

    def _run(self, name: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        definition, token = self._defined(), _sdk.token(name)
        with self._settling.known(), self._asking():
            answer: dict[str, Any] = self._client.run_task(
                taskDefinition=definition, clientToken=token, **wanted
            )
        return answer

    def _networks(self) -> Sequence[str]:
        """Return the subnets that tasks may be in."""
        if not self._subnets:
            default = [{"Name": "default-for-az", "Values": ["true"]}]
            with _sdk.asking("ec2"):
                client = self._session.client("ec2")
                found = client.describe_subnets(Filters=default)["Subnets"]
            if not found:
                raise self._error(
                    "RunTask",
                    "the region has no default subnets: name some with "
                    "@fargate(subnets=[...])",
                )
            self._subnets = tuple(each["SubnetId"] for each in found)
        return self._subnets

    def _defined(self) -> str:
        """Return the task definition, which is made once and known by what is in it."""
        with self._lock:
            if not self._definition:
                definition = self._wanted()
                digest = hashlib.sha256(json.dumps(definition).encode()).hexdigest()
                family = f"entangle-{digest[:24]}"
                if not self._there(family):
                    about = f"task definition {family}"
                    with self._settling.known(), self._asking(about):
                        self._client.register_task_definition(
                            family=family, **definition
                        )
                self._definition = family
            return self._definition

    def _there(self, family: str) -> bool:
        try:
            with self._asking(f"task definition {family}"):
                found = self._client.describe_task_definition(taskDefinition=family)
        except AwsError as error:
            if error.code == "ClientException":
                return False
            raise
        return bool(found["taskDefinition"].get("status", "ACTIVE") == "ACTIVE")

    def _wanted(self) -> dict[str, Any]:
        size = self._size
        log = {
            "awslogs-group": _GROUP,
            "awslogs-region": self._session.region,
            "awslogs-stream-prefix": _STARTED_BY,
        }
        container = {
            "name": _CONTAINER,
            "image": self._image,
            "essential": True,
            "entryPoint": [self._interpreter],
            "command": ["--version"],
            "memory": int(size.megabytes),
            "stopTimeout": _STOP,
            "logConfiguration": {"logDriver": "awslogs", "options": log},
        }
        wanted = {
            "requiresCompatibilities": ["FARGATE"],
            "networkMode": "awsvpc",
            "cpu": size.units,
            "memory": size.megabytes,
            "executionRoleArn": self._arn(self._execution_role),
            "runtimePlatform": {
                "cpuArchitecture": size.architecture,
                "operatingSystemFamily": "LINUX",
            },
            "containerDefinitions": [container],
        }
        if self._task_role:
            wanted["taskRoleArn"] = self._arn(self._task_role)
        return wanted

    def _arn(self, role: str) -> str:
        if role.startswith("arn:"):
            return role
        where = f"{self._session.partition}:iam::{self._session.number}"
        return f"arn:{where}:role/{role}"


def _stream(handle: str) -> str:
    """Return the stream that ECS makes for a task."""
    return f"{_STARTED_BY}/{_CONTAINER}/{handle.rpartition('/')[2]}"


def _state(task: Mapping[str, Any]) -> JobState:
    status = str(task["lastStatus"])
    state: Any = _STATES.get(status, "running")
    containers: list[dict[str, Any]] = task.get("containers") or [{}]
    said: list[Any] = [task.get("stoppedReason"), containers[0].get("reason")]
    reason = "; ".join(dict.fromkeys(str(each) for each in said if each))
    code = containers[0].get("exitCode")
    return JobState(
        state,
        reason or status,
        exit_code=None if code is None else int(code),
        out_of_memory="OutOfMemory" in reason,
    )
