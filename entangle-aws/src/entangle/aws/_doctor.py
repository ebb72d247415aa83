"""What `entangle doctor` looks at: credentials, region, bucket, permissions, roles."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from entangle.hooks import Finding

from ._account import Account
from ._ways import PLUGIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._sdk import Session

NO_CREDENTIALS: Final = "no credentials in the environment or in ~/.aws"
_VENDOR: Final = "/sys/class/dmi/id/sys_vendor"


def findings() -> Iterator[Finding]:
    """Look at what boto3 finds by itself; nothing is changed."""
    from . import _sdk

    try:
        yield Finding("ok", "aws", f"boto3 {_sdk.version()}")
    except ImportError as error:
        yield Finding("fail", "aws", str(error), "pip install boto3")
        return

    if not wanted():
        text = f"{NO_CREDENTIALS}: nothing else is asked"
        yield Finding("warn", "aws", text, "run `aws configure` or `aws sso login`")
        return
    with contextlib.closing(_sdk.session(Account())) as session:
        yield from _asked_of(session)


def _asked_of(session: Session) -> Iterator[Finding]:
    try:
        region = session.region
        number = session.number
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        yield _failed("aws", error)
        return
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    text = f"account {number}, region {region}"
    yield Finding("ok", "aws", f"{text}, by {endpoint}" if endpoint else text)
    yield _bucket(session, f"entangle-{number}-{region}")
    # Imported here: sweeping asks this module whether there are credentials.
    from . import _named, _permissions

    found = _permissions.missing(session)
    for target in ("s3", "lmbda", "fargate", "ec2"):
        yield from _permitted(session, target, found)
    yield from _named.findings(session)
    yield from _sessions(session, found)


def _permitted(
    session: Session, target: str, missing: Mapping[str, list[str]] | None
) -> Iterator[Finding]:
    if missing is not None:
        yield _granted(target, missing[target])
    elif target != "s3":  # whose bucket was looked at
        yield _allowed(session, target)


def _granted(target: str, missing: list[str]) -> Finding:
    subject = f"aws {target}"
    if not missing:
        return Finding("ok", subject, "what it needs is allowed")
    text = f"not allowed on all resources: {', '.join(missing)}"
    remedy = "have them granted, unless they are for what you use"
    return Finding("warn", subject, text, remedy)


def _sessions(
    session: Session, missing: Mapping[str, list[str]] | None
) -> Iterator[Finding]:
    """Look whether EC2's instances may stay for more calls."""
    plugin = shutil.which(PLUGIN)
    if plugin is None:
        text = f"without AWS's {PLUGIN} each call gets an instance of its own"
        yield Finding("ok", "aws ec2", text)
        return
    from . import _ec2_session, _permissions

    try:
        version = ".".join(map(str, _ec2_session.version(plugin)))
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding(
            "warn", "aws ec2", f"{plugin} can't be run: {error}", "reinstall it"
        )
        return
    yield Finding("ok", "aws ec2", f"{PLUGIN} {version}".rstrip())
    yield from _permitted(session, _permissions.SESSIONS, missing)


def wanted() -> bool:
    """Tell whether there may be credentials, without asking the machine's network."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")
    if any(os.environ.get(name) for name in names):
        return True
    container = (
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    )
    if any(os.environ.get(name) for name in container) or _has_role():
        return True
    files = (
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    return any(
        os.path.isfile(os.path.expanduser(path))  # noqa: PTH111, PTH113 - of any form
        for path in files
    )


def _has_role() -> bool:
    """Tell whether this is a machine of EC2, which may have a role of its own."""
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return False
    try:
        with open(_VENDOR) as file:  # noqa: PTH123 - pathlib would be an import
            return file.read().startswith("Amazon EC2")
    except OSError:
        return False


def _bucket(session: Session, name: str) -> Finding:
    from . import _sdk
    from ._s3 import S3Store

    try:
        with _sdk.asking("s3", f"s3://{name}"):
            session.client("s3").head_bucket(
                Bucket=name, ExpectedBucketOwner=session.number
            )
        lacks = S3Store(session, "").lacks()
    except Exception as error:  # noqa: BLE001 - as above
        if getattr(error, "code", "") in {"404", "NoSuchBucket"}:
            return Finding("ok", "aws s3", f"{name} is made when it is needed")
        return _failed("aws s3", error)
    if lacks:
        text = f"s3://{name} has no {', and no '.join(lacks)}"
        return Finding("warn", "aws s3", text, "run a task that uses it, which puts it")
    return Finding("ok", "aws s3", f"s3://{name}")


def _allowed(session: Session, target: str) -> Finding:
    from . import _permissions

    subject = f"aws {target}"
    try:
        action = _permissions.probe(session, target)
    except Exception as error:  # noqa: BLE001 - as above
        return _failed(subject, error)
    return Finding("ok", subject, f"{action} is allowed")


def _failed(subject: str, error: Exception) -> Finding:
    text, _, remedy = str(error).partition(": ")
    return Finding("warn", subject, str(error) if not remedy else text, remedy or text)
