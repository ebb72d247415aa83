"""What things cost: a dated table in the package, or one of the user's own."""

from __future__ import annotations

import functools
import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any, Final

from entangle.run import Price

VARIABLE: Final = "ENTANGLE_AWS_PRICES"
"""The environment variable that names a table to be used instead, of the same form."""

_HOUR: Final = 3600.0
_MOST_MEMORY: Final = 10_240  # MB that a Lambda function may have
_TYPE: Final = re.compile(r"(.+)\.(nano|micro|small|medium|large|([0-9]*)xlarge)")
# How many times the size called large others cost, where a family is in proportion.
_SIZES: Final = {
    "nano": 1 / 16,
    "micro": 1 / 8,
    "small": 1 / 4,
    "medium": 1 / 2,
    "large": 1.0,
}


class Prices:
    """The prices of one region.

    Args:
        region: Its name. What the table doesn't have of it is not known: others may be
            cheaper by far.

    Raises:
        OSError: A table of the user's own can't be read.
        ValueError: It is no table.
    """

    def __init__(self, region: str) -> None:
        table = _table(os.environ.get(VARIABLE, ""))
        self._regions: dict[str, Any] = table.get("regions", {})
        self._region = region
        self._as_of = str(table.get("as_of", "an unknown date"))

    def lmbda(self, memory: int, architecture: str) -> Price | None:
        """Return what an invocation costs.

        Args:
            memory: MB.
            architecture: ``x86_64`` or ``arm64``.
        """
        service = self._service("lambda")
        try:
            second = service["gb_second"][architecture] * memory / 1024
            call = float(service["request"])
        except (KeyError, TypeError):
            return None
        text = (
            f"about {1000 * second:.4g} USD for 1,000 s of {memory:,} MB and "
            f"{1e6 * call:.4g} USD for a million calls ({self._said()})"
        )
        return Price(text, call=call, second=second, least=0.001)

    def proxy(self) -> Price | None:
        """Return what an invocation costs at most, of a function of unknown size."""
        price = self.lmbda(_MOST_MEMORY, "x86_64")
        if price is None:
            return None
        text = f"as if it had the most memory, since that is not known: {price}"
        return Price(text, call=price.call, second=price.second, least=price.least)

    def fargate(self, cpu: float, gigabytes: float, architecture: str) -> Price | None:
        """Return what a task costs.

        Args:
            cpu: vCPUs.
            gigabytes: GB of memory.
            architecture: ``X86_64`` or ``ARM64``.
        """
        service = self._service("fargate")
        try:
            hour = service["vcpu_hour"][architecture] * cpu
            hour += service["gb_hour"][architecture] * gigabytes
            least = float(service["least_seconds"])
        except (KeyError, TypeError):
            return None
        text = (
            f"about {hour:.4g} USD an hour, at least {hour * least / _HOUR:.2g} USD a "
            f"call, less with spot=True ({self._said()})"
        )
        return Price(text, second=hour / _HOUR, least=least)

    def ec2(self, instance_type: str, *, kept: bool = False) -> Price | None:
        """Return what an instance costs.

        Args:
            instance_type: Its type.
            kept: Whether it stays for more calls: each costs its own time then, and
                what is waited for beside is not foreseen.
        """
        service = self._service("ec2")
        try:
            hour = _hour(service, instance_type)
            least = float(service["least_seconds"])
        except (KeyError, TypeError):
            return None
        text = (
            f"about {hour:.4g} USD an hour for each instance, its boot included, less "
            f"with spot=True ({self._said()})"
        )
        return Price(text, second=hour / _HOUR, least=0.0 if kept else least)

    def _service(self, name: str) -> dict[str, Any]:
        """Return what a service costs; where another region's name stands, as there."""
        region: Any = self._regions.get(self._region, {})
        if type(region) is str:
            region = self._regions.get(region, {})
        prices: Any = region.get(name, {})
        if type(prices) is str:
            prices = self._regions[prices].get(name, {})
        return dict(prices)

    def _said(self) -> str:
        return f"list prices of {self._region}, {self._as_of}"


def _hour(service: dict[str, Any], instance_type: str) -> float:
    """Return what an instance costs an hour, by its own price or its family's.

    Raises:
        KeyError: Neither is known.
    """
    own = service.get("hour", {}).get(instance_type)
    if own is not None:
        return float(own)
    found = _TYPE.fullmatch(instance_type)
    if found is None:
        raise KeyError(instance_type)
    family, size, times = found.groups()
    large = float(service["large_hour"][family])
    return large * (_SIZES[size] if times is None else 2.0 * int(times or 1))


@functools.lru_cache(8)
def _table(path: str) -> dict[str, Any]:
    if path:
        found: Any = json.loads(Path(path).read_text())
    else:
        table = resources.files("entangle.aws").joinpath("prices.json")
        found = json.loads(table.read_text())
    if type(found) is not dict:
        raise ValueError(f"a table of prices is an object, not {type(found).__name__}")
    return found  # pyright: ignore[reportUnknownVariableType]
