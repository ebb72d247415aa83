"""What AWS would refuse of the options, found where they are written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ._s3 import LONGEST

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUCKET: Final = re.compile(r"[a-z0-9](?!.*\.\.)[a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS: Final = re.compile(r"[0-9]+(\.[0-9]+){3}")
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/\S+")
_NEEDED: Final = ("cluster", "image", "execution_role")


def check(options: Mapping[str, Any]) -> None:
    """Refuse what no place of AWS takes.

    Args:
        options: Those that were given, of any place.

    Raises:
        ValueError: One has an unusable value.
    """
    for name in _NEEDED:
        check_given(name, options.get(name))
    check_bucket(options.get("bucket", ""))
    if "lifetime" in options:
        check_lifetime(options["lifetime"])
    role = options.get("execution_role", "")
    if role.startswith("arn:"):
        check_role("execution_role", role)


def check_given(name: str, value: str | None) -> None:
    """Refuse a text that says nothing.

    Raises:
        ValueError: It is empty.
    """
    if value is not None and not value.strip():
        raise ValueError(f"{name} must not be empty: leave it out for its default")


def check_bucket(name: str) -> None:
    """Refuse what can't be the name of a bucket.

    Raises:
        ValueError: It is none.
    """
    if name and (not _BUCKET.fullmatch(name) or _ADDRESS.fullmatch(name)):
        raise ValueError(
            "bucket must have 3 to 63 lower-case letters, digits, '-' and '.', as "
            f"'my-bucket', not {name!r}"
        )


def check_role(name: str, role: str) -> None:
    """Refuse what can't be the ARN of a role.

    Raises:
        ValueError: It is none.
    """
    if not _ROLE.fullmatch(role):
        raise ValueError(
            f"{name} must be the ARN of a role, as "
            f"'arn:aws:iam::123456789012:role/worker', not {role!r}"
        )


def check_lifetime(lifetime: float) -> None:
    """Refuse a lifetime in which a job could not leave its answer.

    Raises:
        ValueError: It is none, or longer than addresses are good.
    """
    if not 0 < lifetime <= LONGEST:
        raise ValueError(
            f"lifetime must be more than 0 and {LONGEST:,.0f} seconds at most, which is "
            f"how long an address of S3 may be good, not {lifetime:g}"
        )
