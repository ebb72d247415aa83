"""What tasks need that is named and not made: roles, a cluster, subnets."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from entangle.hooks import Finding

from . import _sdk
from ._fargate import FargateExecutor
from ._lambda import LambdaExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._sdk import Session


def findings(session: Session) -> Iterator[Finding]:
    """Look whether there is what is named by default.

    Who may not look is told so by what is said of permissions.
    """
    yield from _role(session, "lmbda", _default(LambdaExecutor, "execution_role"))
    yield from _role(session, "fargate", _default(FargateExecutor, "execution_role"))
    yield from _cluster(session, _default(FargateExecutor, "cluster"))
    yield from _subnets(session)


def _default(executor: type, option: str) -> str:
    return str(inspect.signature(executor).parameters[option].default)


def _role(session: Session, target: str, name: str) -> Iterator[Finding]:
    _, wrong = _asked(session, "iam", "get_role", RoleName=name)
    if wrong is None:
        yield Finding("ok", f"aws {target}", f"role {name}")
    elif wrong == "NoSuchEntity":
        yield Finding(
            "warn",
            f"aws {target}",
            f"there is no role {name}",
            f"make it as in Entangle's documentation of @{target}, or name another "
            "with execution_role=",
        )


def _cluster(session: Session, name: str) -> Iterator[Finding]:
    # By a permission that tasks need anyway.
    _, wrong = _asked(session, "ecs", "list_tasks", cluster=name, maxResults=1)
    if wrong is None:
        yield Finding("ok", "aws fargate", f"cluster {name}")
    elif wrong == "ClusterNotFoundException":
        yield Finding(
            "warn",
            "aws fargate",
            f"there is no cluster {name}",
            f"`aws ecs create-cluster --cluster-name {name} --capacity-providers "
            "FARGATE FARGATE_SPOT`, or name another with cluster=",
        )


def _subnets(session: Session) -> Iterator[Finding]:
    default = [{"Name": "default-for-az", "Values": ["true"]}]
    told, wrong = _asked(session, "ec2", "describe_subnets", Filters=default)
    if wrong is None and not told["Subnets"]:
        yield Finding(
            "warn",
            "aws fargate, ec2",
            "the region has no default subnets",
            "name some: @fargate(subnets=[...]), @ec2(subnet=...); or have AWS make "
            "its own with `aws ec2 create-default-vpc`",
        )


def _asked(
    session: Session, service: str, operation: str, **options: Any
) -> tuple[dict[str, Any], str | None]:
    """Ask something; return the answer, or what AWS calls what is against it."""
    try:
        with _sdk.asking(service):
            ask: Callable[..., dict[str, Any]] = getattr(
                session.client(service), operation
            )
            return ask(**options), None
    except Exception as error:  # noqa: BLE001 - then nothing is said of it
        return {}, str(getattr(error, "code", ""))
