"""Tasks on AWS: ``@lmbda``, ``@fargate`` and ``@ec2``, beside ``@aws``.

from entangle.aws import aws, lmbda

@aws(region="eu-central-1")
@lmbda(memory=2048, packages=["numpy"])
def crunch(seed: int) -> float: ...
"""

from ._account import Account
from .decorators import aws, ec2, fargate, lmbda
from .errors import AwsError, RemoteFunctionError

__all__ = [
    "Account",
    "AwsError",
    "RemoteFunctionError",
    "aws",
    "ec2",
    "fargate",
    "lmbda",
]
