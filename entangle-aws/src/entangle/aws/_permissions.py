"""The permissions that each target needs, and which of them are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ._sdk import Session

_OBJECTS: Final = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket")
_BUCKET: Final = (
    "s3:CreateBucket",
    "s3:PutLifecycleConfiguration",
    "s3:PutBucketPublicAccessBlock",
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
        *("logs:PutRetentionPolicy", "logs:FilterLogEvents", "ec2:DescribeSubnets"),
    ),
    "ec2": (
        *("ec2:RunInstances", "ec2:DescribeInstances", "ec2:TerminateInstances"),
        *("ec2:CreateTags", "ec2:DescribeVpcs", "ec2:DescribeSubnets"),
        *("ec2:DescribeSecurityGroups", "ec2:CreateSecurityGroup"),
        "ssm:GetParameter",
    ),
}
"""By target, or by what they have in common: what its default options need."""


def missing(session: Session) -> dict[str, list[str]] | None:
    """Return by target what the caller's policies do not allow on all resources.

    Returns:
        None where that can't be found out: it needs a permission of its own,
        ``iam:SimulatePrincipalPolicy``.
    """
    principal = _principal(session.arn)
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


def _principal(arn: str) -> str:
    """Return whose policies count: of who has taken a role on, the role's."""
    head, sep, rest = arn.partition(":assumed-role/")
    if not sep:
        return arn
    return f"{head.replace(':sts:', ':iam:')}:role/{rest.partition('/')[0]}"
