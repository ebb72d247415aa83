"""What is left in AWS of clients that are gone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ._account import Account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from entangle.hooks import Leftover

    from ._sdk import Session


def leftovers(older_than: float) -> Iterator[Leftover]:
    """Yield jobs and objects that are nobody's, in the account that boto3 finds.

    Args:
        older_than: Only what is older than so many seconds.
    """
    from . import _doctor, _sdk

    if not _doctor.wanted():
        return
    with contextlib.closing(_sdk.session(Account())) as session:
        yield from _of_clusters(session, older_than)


def _of_clusters(session: Session, older_than: float) -> Iterator[Leftover]:
    """Look into every cluster, and into the bucket that is used by default."""
    from entangle.backend import store_leftovers

    from . import _sdk
    from ._ec2 import Ec2Executor
    from ._fargate import FargateExecutor
    from ._s3 import S3Store

    clusters: list[str] = []
    with _sdk.asking("ecs"):
        for page in session.client("ecs").get_paginator("list_clusters").paginate():
            clusters += page["clusterArns"]
    with Ec2Executor() as place:
        yield from place.leftover_jobs(older_than)
    for cluster in clusters:
        with FargateExecutor(cluster=cluster) as place:
            yield from place.leftover_jobs(older_than)
    yield from store_leftovers(S3Store(session, ""), older_than)
