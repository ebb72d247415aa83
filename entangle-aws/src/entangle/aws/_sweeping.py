"""What is left in AWS of clients that are gone."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from ._account import Account
from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from entangle.hooks import Leftover

    from ._sdk import Session

log = logging.getLogger("entangle.aws")


def leftovers(older_than: float) -> Iterator[Leftover]:
    """Yield jobs, reservations and objects that are nobody's, in the account that boto3 finds.

    Args:
        older_than: Only what is older than so many seconds.
    """
    from . import _doctor, _sdk

    if not _doctor.wanted():
        # No error: most who sweep have nothing there. But it was not looked at.
        log.warning("AWS is not swept: there are %s", _doctor.NO_CREDENTIALS)
        return
    troubles: list[Exception] = []
    with contextlib.closing(_sdk.session(Account())) as session:
        # Who may not look at one of them may look at the others.
        for look in (_of_instances, _of_clusters, _of_functions, _of_buckets):
            try:
                yield from look(session, older_than)
            except Exception as error:  # noqa: BLE001 - raised below
                troubles.append(error)
    _told(troubles)


def _told(troubles: list[Exception]) -> None:
    """Raise what was in the way, if anything was."""
    if len(troubles) == 1:
        raise troubles[0]
    if troubles:
        raise AwsError("; ".join(map(str, troubles))) from troubles[0]


def _of_instances(session: Session, older_than: float) -> Iterator[Leftover]:
    from ._ec2 import Ec2Executor

    del session  # they ask for the same
    with Ec2Executor() as place:
        yield from place.leftover_jobs(older_than)


def _of_clusters(session: Session, older_than: float) -> Iterator[Leftover]:
    """Look into every cluster of ECS."""
    from . import _sdk
    from ._fargate import FargateExecutor

    clusters: list[str] = []
    try:
        with _sdk.asking("ecs"):
            pages = session.client("ecs").get_paginator("list_clusters")
            for page in pages.paginate():
                clusters += page["clusterArns"]
    except AwsError as error:
        if not error.action:
            raise
        # Not allowed to list them: then the one that is used by default.
        clusters = ["default"]
    troubles: list[Exception] = []
    for cluster in clusters:
        # Others may keep this client out of theirs.
        try:
            with FargateExecutor(cluster=cluster) as place:
                yield from place.leftover_jobs(older_than)
        except Exception as error:  # noqa: BLE001 - raised below
            troubles.append(error)
    _told(troubles)


def _of_functions(session: Session, older_than: float) -> Iterator[Leftover]:
    """Look for what is reserved for functions: they are free, and are kept."""
    from ._lambda import LambdaExecutor

    del session  # it asks for the same
    with LambdaExecutor() as place:
        for each in place.leftover_jobs(older_than):
            yield each._replace(kind="reservation")


def _of_buckets(session: Session, older_than: float) -> Iterator[Leftover]:
    """Look into every bucket that can be read: any may have been named with bucket=."""
    from entangle.backend import store_leftovers

    from . import _sdk
    from ._s3 import S3Store

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
