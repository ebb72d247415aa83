"""A store in a bucket."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle.backend import Store, StoredObject

from . import _sdk
from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._sdk import Session

_AT_ONCE: Final = 1000  # keys that one request deletes
LONGEST: Final = 7 * 86_400.0
"""Seconds that an address may be good, says AWS."""
_MISSING: Final = frozenset(("NoSuchKey", "404", "NotFound"))
_NO_BUCKET: Final = "NoSuchBucket"
# After which whatever was forgotten is removed by the bucket itself. What jobs share is
# read until its lifetime and that of the last of them are over.
_DAYS: Final = 15


class _Setting(NamedTuple):
    """What a bucket that was made here has.

    Attributes:
        name: What it is called in messages.
        look: The operation that tells it.
        missing: The code of who has none.
        put: The operation that puts it.
        value: What that is given.
    """

    name: str
    look: str
    missing: str
    put: str
    value: dict[str, Any]


_BLOCKED: Final = (
    *("BlockPublicAcls", "IgnorePublicAcls"),
    *("BlockPublicPolicy", "RestrictPublicBuckets"),
)
_RULE: Final = {
    "ID": "entangle",
    "Status": "Enabled",
    "Filter": {"Prefix": "entangle/"},
    "Expiration": {"Days": _DAYS},
}
_SETTINGS: Final = (
    _Setting(
        "block of public access",
        "get_public_access_block",
        "NoSuchPublicAccessBlockConfiguration",
        "put_public_access_block",
        {"PublicAccessBlockConfiguration": dict.fromkeys(_BLOCKED, True)},
    ),
    _Setting(
        "rule that removes what is older than fifteen days",
        "get_bucket_lifecycle_configuration",
        "NoSuchLifecycleConfiguration",
        "put_bucket_lifecycle_configuration",
        {"LifecycleConfiguration": {"Rules": [_RULE]}},
    ),
)


class S3Store(Store):
    """Objects in a bucket, which encrypts them by itself. Thread-safe.

    Args:
        session: The account.
        bucket: Its name; empty for ``entangle-ACCOUNT-REGION``, which is made if need
            be, private, and with a rule that removes what is older than fifteen days;
            both are put, too, where a program was ended before it could put them.
    """

    def __init__(self, session: Session, bucket: str) -> None:
        self._session = session
        self._own = not bucket
        self.bucket = bucket or f"entangle-{session.number}-{session.region}"
        # Its name can be guessed: who has taken it first must not be sent anything.
        self._owner = {"ExpectedBucketOwner": session.number} if self._own else {}

    def put(self, key: str, data: bytes) -> None:
        """Upload an object."""
        upkeep, name = self._session.upkeep, self.where("")
        if not self._own:
            upkeep.of(f"region of {name}", self._check)
            self._put(key, data)
            return
        upkeep.of(name, self._ensure)
        try:
            self._put(key, data)
        except AwsError as error:
            if error.code != _NO_BUCKET:
                raise
            # Somebody has deleted it since it was looked for.
            upkeep.doubt(name)
            upkeep.of(name, self._ensure)
            self._put(key, data)

    def get(self, key: str) -> bytes:
        """Download an object.

        Raises:
            KeyError: There is none.
        """
        try:
            with _sdk.asking("s3", self.where(key)):
                found = self._client.get_object(
                    Bucket=self.bucket, Key=key, **self._owner
                )
                data: bytes = found["Body"].read()
        except AwsError as error:
            if error.code in _MISSING:
                raise KeyError(key) from error
            raise
        return data

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield objects; a bucket that is not there has none."""
        now = time.time()
        pages = self._client.get_paginator("list_objects_v2")
        try:
            with _sdk.asking("s3", self.where(prefix)):
                for page in pages.paginate(
                    Bucket=self.bucket, Prefix=prefix, **self._owner
                ):
                    for each in page.get("Contents", ()):
                        age = max(0.0, now - each["LastModified"].timestamp())
                        yield StoredObject(each["Key"], each["Size"], age)
        except AwsError as error:
            if not (self._own and error.code == _NO_BUCKET):
                raise

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, a thousand with each request."""
        waiting = [*keys]
        while waiting:
            some, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            named = [{"Key": key} for key in some]
            with _sdk.asking("s3", self.where(some[0])):
                done = self._client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": named, "Quiet": True},
                    **self._owner,
                )
            for refused in done.get("Errors", ()):
                raise AwsError(
                    f"{refused.get('Code')}: {refused.get('Message')}",
                    service="s3",
                    operation="DeleteObjects",
                    code=str(refused.get("Code", "")),
                    resource=self.where(str(refused.get("Key", ""))),
                )

    def read_url(self, key: str, seconds: float) -> str:
        """Return a presigned address for GET."""
        return self._signed("get_object", key, seconds)

    def write_url(self, key: str, seconds: float) -> str:
        """Return a presigned address for PUT."""
        return self._signed("put_object", key, seconds)

    def good_until(self) -> float:
        """Return when the credentials end that sign; they are renewed if need be."""
        return min(self._session.good_until(), time.time() + LONGEST)

    def where(self, key: str) -> str:
        """Return the object's ``s3:`` address."""
        return f"s3://{self.bucket}/{key}"

    def lacks(self) -> tuple[str, ...]:
        """Name what the bucket should have, and has not, as far as one may look."""
        return tuple(each.name for each in _SETTINGS if self._lacks(each))

    @property
    def _client(self) -> Any:
        return self._session.client("s3")

    def _put(self, key: str, data: bytes) -> None:
        with _sdk.asking("s3", self.where(key)):
            self._client.put_object(
                Bucket=self.bucket, Key=key, Body=data, **self._owner
            )

    def _signed(self, action: str, key: str, seconds: float) -> str:
        self._session.good_until()  # which renews what signs
        with _sdk.asking("s3", self.where(key)):
            url: str = self._client.generate_presigned_url(
                action,
                Params={"Bucket": self.bucket, "Key": key},
                ExpiresIn=int(min(seconds, LONGEST)),
            )
        return url

    def _check(self) -> None:
        """Refuse a bucket of another region: jobs can't reach it by what is signed here.

        Raises:
            AwsError: It is one.
        """
        here = self._session.region
        try:
            with _sdk.asking("s3", self.where("")):
                found = self._client.head_bucket(Bucket=self.bucket)
        except AwsError:
            return  # what is asked next says why
        region = found.get("BucketRegion", here)
        if region != here:
            raise AwsError(
                f"it is in {region}, and addresses for jobs are signed for {here}: name "
                f'a bucket of {here}, or run there with @aws(region="{region}")',
                service="s3",
                operation="HeadBucket",
                resource=self.where(""),
            )

    def _ensure(self) -> None:
        """Make the bucket, unless it is there, and put what it lacks."""
        made = False
        try:
            with _sdk.asking("s3", self.where("")):
                self._client.head_bucket(Bucket=self.bucket, **self._owner)
        except AwsError as error:
            if error.action:
                raise self._of_others(error) from error
            if error.code not in {*_MISSING, _NO_BUCKET}:
                raise
            self._make()
            made = True
        for setting in _SETTINGS:
            # What somebody has changed stays as it is.
            if made or self._lacks(setting):
                self._set(setting)

    def _lacks(self, setting: _Setting) -> bool:
        try:
            with _sdk.asking("s3", self.where("")):
                getattr(self._client, setting.look)(Bucket=self.bucket, **self._owner)
        except AwsError as error:
            # Who may not look is mostly not the one who has made it.
            return error.code == setting.missing
        return False

    def _set(self, setting: _Setting) -> None:
        try:
            with _sdk.asking("s3", self.where("")):
                put = getattr(self._client, setting.put)
                put(Bucket=self.bucket, **setting.value, **self._owner)
        except AwsError as error:
            if not error.action:
                raise
            self._session.upkeep.warn(
                f"{self.where('')} is used without a {setting.name}: {error.reason}"
            )

    def _make(self) -> None:
        client, region = self._client, self._session.region
        where = {"LocationConstraint": region}
        # The oldest region is not to be named.
        more = {} if region == "us-east-1" else {"CreateBucketConfiguration": where}
        try:
            with _sdk.asking("s3", self.where("")):
                client.create_bucket(Bucket=self.bucket, **more)
        except AwsError as error:
            if error.code == "BucketAlreadyExists":
                raise self._of_others(error) from error
            # Two programs at once.
            if error.code != "BucketAlreadyOwnedByYou":
                raise

    def _of_others(self, error: AwsError) -> AwsError:
        return AwsError(
            f"{error.reason}; if it belongs to another account: name one of yours with "
            "bucket=",
            service="s3",
            operation=error.operation,
            code=error.code,
            resource=error.resource,
            action=error.action,
        )
