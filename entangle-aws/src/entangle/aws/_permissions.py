"""The permissions that each target needs: which are missing, or one that is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import _sdk
from ._ec2_machines import Machines, Wish
from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._sdk import Session

SESSIONS: Final = "ec2 ssm"
"""The target of EC2's instances that stay, beside what all of EC2 needs."""

_OBJECTS: Final = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket")
_BUCKET: Final = (
    "s3:CreateBucket",
    "s3:PutLifecycleConfiguration",
    "s3:PutBucketPublicAccessBlock",
    "s3:GetLifecycleConfiguration",
    "s3:GetBucketPublicAccessBlock",
)
NEEDED: Final = {
    "s3": (*_OBJECTS, *_BUCKET),
    "lmbda": (
        "lambda:InvokeFunction",
        "lambda:GetFunctionConfiguration",
        "lambda:CreateFunction",
        "lambda:TagResource",
        "iam:GetRole",
        "iam:PassRole",
    ),
    "fargate": (
        *("ecs:RunTask", "ecs:DescribeTasks", "ecs:ListTasks", "ecs:StopTask"),
        *("ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"),
        *("ecs:TagResource", "iam:PassRole", "logs:CreateLogGroup"),
        *("logs:PutRetentionPolicy", "logs:DescribeLogGroups"),
        *("logs:FilterLogEvents", "ec2:DescribeSubnets"),
    ),
    "ec2": (
        *("ec2:RunInstances", "ec2:DescribeInstances", "ec2:TerminateInstances"),
        *("ec2:CreateTags", "ec2:DescribeVpcs", "ec2:DescribeSubnets"),
        *("ec2:DescribeSecurityGroups", "ec2:CreateSecurityGroup"),
        "ssm:GetParameter",
    ),
    SESSIONS: (
        *("ssm:StartSession", "ssm:DescribeInstanceInformation"),
        *("ssm:ResumeSession", "ssm:TerminateSession"),
    ),
}
"""By target, or by what they have in common: what its default options need."""

_NOBODY: Final = "entangle-doctor"  # a name that nothing has
_NO_INSTANCE: Final = "i-00000000000000000"


def missing(session: Session) -> dict[str, list[str]] | None:
    """Return by target what the caller's policies do not allow on all resources.

    Returns:
        None where that can't be found out: it needs a permission of its own,
        ``iam:SimulatePrincipalPolicy``.
    """
    principal = _principal(session)
    if principal.endswith(":root"):
        return {target: [] for target in NEEDED}
    actions = sorted({action for several in NEEDED.values() for action in several})
    pages = session.client("iam").get_paginator("simulate_principal_policy")
    allowed: set[str] = set()
    try:
        for page in pages.paginate(PolicySourceArn=principal, ActionNames=actions):
            results: list[dict[str, Any]] = page["EvaluationResults"]
            allowed.update(
                each["EvalActionName"]
                for each in results
                if each["EvalDecision"] == "allowed"
            )
    except Exception:  # noqa: BLE001 - it is only asked for what could be said better
        return None
    return {
        target: [action for action in needed if action not in allowed]
        for target, needed in NEEDED.items()
    }


def _principal(session: Session) -> str:
    """Return whose policies count: of who has taken a role on, the role's."""
    head, sep, rest = session.arn.partition(":assumed-role/")
    if not sep:
        return session.arn
    name = rest.partition("/")[0]
    try:
        # Its path is left out of who one is, and those of SSO have one.
        found = session.client("iam").get_role(RoleName=name)
    except Exception:  # noqa: BLE001 - most roles have none
        return f"{head.replace(':sts:', ':iam:')}:role/{name}"
    return str(found["Role"]["Arn"])


def probe(session: Session, target: str) -> str:
    """Use a permission that a target needs, so that nothing comes of it.

    Returns:
        The permission.

    Raises:
        Exception: It is missing, or something else is wrong.
    """
    ask, action, expected = _PROBES[target]
    try:
        ask(session)
    except AwsError as error:
        if error.code not in expected:
            raise
    return action


def _of_functions(session: Session) -> None:
    with _sdk.asking("lambda"):
        session.client("lambda").get_function_configuration(FunctionName=_NOBODY)


def _of_tasks(session: Session) -> None:
    with _sdk.asking("ecs"):
        session.client("ecs").describe_task_definition(taskDefinition=_NOBODY)


def _of_instances(session: Session) -> None:
    Machines(session, Wish()).rehearse()


def _of_sessions(session: Session) -> None:
    with _sdk.asking("ssm"):
        session.client("ssm").start_session(
            Target=_NO_INSTANCE,
            DocumentName="AWS-StartSSHSession",
            Parameters={"portNumber": ["22"]},
        )


class _Probe(NamedTuple):
    """A request from which nothing can come.

    Attributes:
        ask: Sends it.
        action: The permission that it needs.
        expected: What is said to who has that.
    """

    ask: Callable[[Session], None]
    action: str
    expected: tuple[str, ...]


_PROBES: Final = {
    "lmbda": _Probe(
        _of_functions,
        "lambda:GetFunctionConfiguration",
        ("ResourceNotFoundException",),
    ),
    "fargate": _Probe(_of_tasks, "ecs:DescribeTaskDefinition", ("ClientException",)),
    "ec2": _Probe(_of_instances, "ec2:RunInstances", ("DryRunOperation",)),
    SESSIONS: _Probe(
        _of_sessions,
        "ssm:StartSession",
        ("TargetNotConnected", "InvalidTarget", "InvalidInstanceId"),
    ),
}
