"""What is left in AWS of clients that are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._account import Account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from entangle.hooks import Leftover


def leftovers(older_than: float) -> Iterator[Leftover]:
    """Yield jobs and objects that are nobody's, in the account that boto3 finds.

    Args:
        older_than: Only what is older than so many seconds.
    """
    from entangle.backend import store_leftovers

    from . import _doctor, _sdk
    from ._s3 import S3Store

    if not _doctor.wanted():
        return
    session = _sdk.session(Account())
    yield from store_leftovers(S3Store(session, ""), older_than)
