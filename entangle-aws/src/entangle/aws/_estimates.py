"""What a plan says of tasks on AWS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ._prices import Prices
from ._sizes import fitted
from ._ways import by_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from entangle.run import PlannedTask

_DEFAULT_REGION = "us-east-1"


def lines(task: PlannedTask) -> Iterator[str]:
    """Yield what is known beforehand; nobody is asked for it."""
    prices = Prices(_region(task.partners.get("aws", {})))
    if task.target == "lmbda" and "function" not in task.options:
        yield from _of_lambda(task.options, prices)
    elif task.target == "fargate":
        yield from _of_fargate(task.options, prices)
    elif task.target == "ec2":
        yield from _of_ec2(task.options, prices)


def _region(account: Mapping[str, object]) -> str:
    if account.get("region"):
        return str(account["region"])
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if os.environ.get(name):
            return os.environ[name]
    return _DEFAULT_REGION


def _of_lambda(options: Mapping[str, Any], prices: Prices) -> Iterator[str]:
    memory = int(options.get("memory", 1024))
    price = prices.lmbda(memory, options.get("architecture", "x86_64"))
    if price is not None:
        yield price


def _of_fargate(options: Mapping[str, Any], prices: Prices) -> Iterator[str]:
    size = fitted(options.get("ram", ""), options.get("cpu", ""))
    yield (
        f"{size.cpu:g} vCPUs, {size.memory:g} GB, {size.architecture}, in cluster "
        f"{options.get('cluster', 'default')!r}"
    )
    price = prices.fargate(size.cpu, size.memory, size.architecture)
    if price is not None:
        yield price


def _of_ec2(options: Mapping[str, Any], prices: Prices) -> Iterator[str]:
    kind = options.get("instance_type", "t3.small")
    image = options.get("ami") or "the newest Amazon Linux 2023"
    kept = by_session(options) and not options.get("fresh")
    if kept:
        most = options.get("instances", 1)
        several = "an instance" if most == 1 else f"up to {most} instances"
        yield f"{several} {kind} for all calls, over sessions of SSM, of {image}"
    else:
        yield f"an instance {kind} for each call, of {image}"
    price = prices.ec2(kind, kept=kept)
    if price is not None:
        yield price
    else:
        yield f"the price of {kind} is not known here"
