"""What things cost: a dated table in the package, or one of the user's own."""

from __future__ import annotations

import functools
import json
import os
from importlib import resources
from pathlib import Path
from typing import Any, Final

from entangle.run import Price

VARIABLE: Final = "ENTANGLE_AWS_PRICES"
"""The environment variable that names a table to be used instead, of the same form."""

_ELSEWHERE: Final = "us-east-1"
_HOUR: Final = 3600.0


class Prices:
    """The prices of one region.

    Args:
        region: Its name; what the table doesn't have of it is taken from us-east-1.
    """

    def __init__(self, region: str) -> None:
        table = _table(os.environ.get(VARIABLE, ""))
        regions: dict[str, Any] = table.get("regions", {})
        self._own: dict[str, Any] = regions.get(region, {})
        self._other: dict[str, Any] = regions.get(_ELSEWHERE, {})
        self._region = region
        self._as_of = str(table.get("as_of", "an unknown date"))

    def lmbda(self, memory: int, architecture: str) -> Price | None:
        """Return what an invocation costs.

        Args:
            memory: MB.
            architecture: ``x86_64`` or ``arm64``.
        """
        service, where = self._service("lambda")
        try:
            second = service["gb_second"][architecture] * memory / 1024
            call = float(service["request"])
        except (KeyError, TypeError):
            return None
        text = (
            f"about {1000 * second:.4g} USD for 1,000 s of {memory:,} MB and "
            f"{1e6 * call:.4g} USD for a million calls ({self._said(where)})"
        )
        return Price(text, call=call, second=second, least=0.001)

    def fargate(self, cpu: float, gigabytes: float, architecture: str) -> Price | None:
        """Return what a task costs.

        Args:
            cpu: vCPUs.
            gigabytes: GB of memory.
            architecture: ``X86_64`` or ``ARM64``.
        """
        service, where = self._service("fargate")
        try:
            hour = service["vcpu_hour"][architecture] * cpu
            hour += service["gb_hour"][architecture] * gigabytes
            least = float(service["least_seconds"])
        except (KeyError, TypeError):
            return None
        text = (
            f"about {hour:.4g} USD an hour, at least {hour * least / _HOUR:.2g} USD a "
            f"call, less with spot=True ({self._said(where)})"
        )
        return Price(text, second=hour / _HOUR, least=least)

    def ec2(self, instance_type: str, *, kept: bool = False) -> Price | None:
        """Return what an instance costs.

        Args:
            instance_type: Its type.
            kept: Whether it stays for more calls: each costs its own time then, and
                what is waited for beside is not foreseen.
        """
        service, where = self._service("ec2")
        try:
            hour = float(service["hour"][instance_type])
            least = float(service["least_seconds"])
        except (KeyError, TypeError):
            return None
        text = (
            f"about {hour:.4g} USD an hour for each instance, its boot included, less "
            f"with spot=True ({self._said(where)})"
        )
        return Price(text, second=hour / _HOUR, least=0.0 if kept else least)

    def _service(self, name: str) -> tuple[dict[str, Any], str]:
        if name in self._own:
            return self._own[name], self._region
        return self._other.get(name, {}), _ELSEWHERE

    def _said(self, where: str) -> str:
        return f"list prices of {where}, {self._as_of}"


@functools.lru_cache(8)
def _table(path: str) -> dict[str, Any]:
    if path:
        found: Any = json.loads(Path(path).read_text())
    else:
        table = resources.files("entangle.aws").joinpath("prices.json")
        found = json.loads(table.read_text())
    if type(found) is not dict:
        raise TypeError(f"{path}: a table of prices is an object, not {type(found)}")
    return found  # pyright: ignore[reportUnknownVariableType]
