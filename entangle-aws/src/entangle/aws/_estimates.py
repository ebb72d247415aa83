"""What a plan says of tasks on AWS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from . import _sdk
from ._account import Account
from ._prices import VARIABLE, Prices
from ._sizes import fitted
from ._ways import by_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from entangle.run import PlannedTask, Price

_DEFAULT_REGION: Final = "us-east-1"


def lines(task: PlannedTask) -> Iterator[str]:
    """Yield what is known beforehand; nobody is asked for it."""
    region = _region(task.partners.get("aws", {}))
    try:
        prices = Prices(region)
    except (OSError, ValueError) as error:
        path = os.environ.get(VARIABLE, "")
        yield f"what it costs is not known: {VARIABLE}={path} can't be used: {error}"
        return
    if task.target == "lmbda":
        yield from _of_lambda(task.options, prices, region)
    elif task.target == "fargate":
        yield from _of_fargate(task.options, prices, region)
    elif task.target == "ec2":
        yield from _of_ec2(task.options, prices, region)


def _region(account: Mapping[str, object]) -> str:
    region, profile = (str(account.get(name) or "") for name in ("region", "profile"))
    known = _sdk.region_of(Account(region=region, profile=profile))
    return known or _DEFAULT_REGION


def _priced(price: Price | None, what: str, region: str) -> str:
    """Return the price, or what to do where there is none."""
    if price is not None:
        return price
    return (
        f"the price of {what} in {region} is not known here: have {VARIABLE} name a "
        "table that has it, of the form of entangle/aws/prices.json"
    )


def _of_lambda(
    options: Mapping[str, Any], prices: Prices, region: str
) -> Iterator[str]:
    if "function" not in options:
        memory = int(options.get("memory", 1024))
        price = prices.lmbda(memory, options.get("architecture", "x86_64"))
        yield _priced(price, "Lambda", region)
    elif options.get("invocation") == "forget":
        yield "what it costs is not known: its end is not waited for"
    else:
        yield _priced(prices.proxy(), "Lambda", region)


def _of_fargate(
    options: Mapping[str, Any], prices: Prices, region: str
) -> Iterator[str]:
    size = fitted(options.get("ram", ""), options.get("cpu", ""))
    yield (
        f"{size.cpu:g} vCPUs, {size.memory:g} GB, {size.architecture}, in cluster "
        f"{options.get('cluster', 'default')!r}"
    )
    price = prices.fargate(size.cpu, size.memory, size.architecture)
    yield _priced(price, f"Fargate, {size.architecture},", region)


def _of_ec2(options: Mapping[str, Any], prices: Prices, region: str) -> Iterator[str]:
    kind = options.get("instance_type", "t3.small")
    image = options.get("ami") or "the newest Amazon Linux 2023"
    kept = by_session(options) and not options.get("fresh")
    if kept:
        most = options.get("instances", 1)
        several = "an instance" if most == 1 else f"up to {most} instances"
        yield f"{several} {kind} for all calls, over sessions of SSM, of {image}"
    else:
        yield f"an instance {kind} for each call, of {image}"
    yield _priced(prices.ec2(kind, kept=kept), kind, region)
