"""What the places of an AWS account have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from entangle.backend import Capabilities, JobExecutor

from . import _sdk
from ._s3 import S3Store

if TYPE_CHECKING:
    from ._account import Account


class AwsExecutor(JobExecutor):
    """A place of an account, whose values go by a bucket.

    Args:
        account: Whose.
        bucket: The bucket; empty for ``entangle-ACCOUNT-REGION``, made if need be.
        lifetime: Seconds after which a job ends.
    """

    plugin: ClassVar[str] = "aws"
    capabilities: ClassVar[Capabilities] = JobExecutor.capabilities._replace(paid=True)

    def __init__(self, account: Account, bucket: str, lifetime: float) -> None:
        super().__init__(lifetime=lifetime)
        self._session = _sdk.session(account)
        self._bucket = bucket

    def store(self) -> S3Store | None:
        """Return the store in the bucket."""
        return S3Store(self._session, self._bucket)

    def closed(self) -> None:
        """Let go of the account's clients: the last job is over."""
        self._session.close()
