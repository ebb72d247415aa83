"""Tasks on AWS: ``@lmbda``, ``@fargate`` and ``@ec2``, beside ``@aws``.

from entangle.aws import aws, lmbda

@aws(region="eu-central-1")
@lmbda(memory=2048, packages=["numpy"])
def crunch(seed: int) -> float: ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import AwsError, RemoteFunctionError

if TYPE_CHECKING:
    from ._account import Account
    from .decorators import aws, ec2, fargate, lmbda

__all__ = [
    "Account",
    "AwsError",
    "RemoteFunctionError",
    "aws",
    "ec2",
    "fargate",
    "lmbda",
]


def __getattr__(name: str) -> Any:
    # Imported when it is used: the plugin's module is in this package, and is imported
    # wherever a run looks for plugins.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Account":
        from ._account import Account

        return Account
    from . import decorators

    return getattr(decorators, name)
