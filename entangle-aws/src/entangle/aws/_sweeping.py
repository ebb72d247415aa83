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
        yield from _of_buckets(session, older_than)


def _of_clusters(session: Session, older_than: float) -> Iterator[Leftover]:
    """Look at EC2, and into every cluster of ECS."""
    from . import _sdk
    from ._ec2 import Ec2Executor
    from ._fargate import FargateExecutor

    clusters: list[str] = []
    with _sdk.asking("ecs"):
        for page in session.client("ecs").get_paginator("list_clusters").paginate():
            clusters += page["clusterArns"]
    with Ec2Executor() as place:
        yield from place.leftover_jobs(older_than)
    for cluster in clusters:
        with FargateExecutor(cluster=cluster) as place:
            yield from place.leftover_jobs(older_than)


def _of_buckets(session: Session, older_than: float) -> Iterator[Leftover]:
    """Look into every bucket that can be read: any may have been named with bucket=."""
    from entangle.backend import store_leftovers

    from . import _sdk
    from ._s3 import S3Store
    from .errors import AwsError

    try:
        with _sdk.asking("s3"):
            found = session.client("s3").list_buckets(BucketRegion=session.region)
    except AwsError:
        # Not allowed to list them: then the one that is used by default.
        yield from store_leftovers(S3Store(session, ""), older_than)
        return
    for bucket in found["Buckets"]:
        # Others may keep this client out of theirs.
        with contextlib.suppress(AwsError):
            yield from store_leftovers(S3Store(session, bucket["Name"]), older_than)
