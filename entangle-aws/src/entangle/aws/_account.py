"""Whose AWS account is used, and where: what ``@aws`` says."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - options are checked by it
from typing import NamedTuple

from entangle.secrets import withhold

from ._checks import check_role

_PAIR = 2
_WITH_TOKEN = 3
_INSTEAD = (
    "let boto3 find credentials, with keys=[], or keep them, and tasks that carry them, "
    "out of what the call reaches"
)


class Account(NamedTuple):
    """An account, a region, and how to reach them; its text shows no secret.

    Attributes:
        keys: Access key, secret key and, if they are temporary, the session token;
            empty for what boto3 finds by itself.
        region: The region; empty for what boto3 finds.
        profile: The profile of AWS's own configuration files; empty for the default.
        endpoint_url: Another address than AWS's own, for all services.
        role: The ARN of a role to be taken on.
    """

    keys: tuple[str, ...] = ()
    region: str = ""
    profile: str = ""
    endpoint_url: str = ""
    role: str = ""

    def __repr__(self) -> str:
        """Show it without its keys."""
        shown = [
            f"{name}={getattr(self, name)!r}"
            for name in ("region", "profile", "endpoint_url", "role")
            if getattr(self, name)
        ]
        if self.keys:
            shown.insert(0, "keys=…")
        return f"aws({', '.join(shown)})"


HERE = Account()
"""What boto3 finds by itself."""


def account(
    *,
    keys: Sequence[str] = (),
    region: str = "",
    profile: str = "",
    endpoint_url: str = "",
    role: str = "",
) -> Account:
    """The AWS account that tasks use, to be put beside ``@lmbda``, ``@fargate``, ``@ec2``.

    Keys that are given stay in this process: they are in no payload, log or tag, of
    whichever place. A call of a job that holds them is refused.

    Args:
        keys: ``[access key, secret key]``, with the session token as a third if they
            are temporary. Empty for what boto3 finds: the environment, its files, the
            machine's own role.
        region: The region, for example ``"eu-central-1"``; by default what boto3 finds.
        profile: A profile of AWS's configuration files.
        endpoint_url: Another address than AWS's own, for all services: a stand-in's.
        role: The ARN of a role that is taken on with these credentials.
    """
    if len(keys) not in {0, _PAIR, _WITH_TOKEN} or not all(keys):
        raise ValueError(
            "keys must be [access key, secret key] or [access key, secret key, session "
            f"token], or empty for what boto3 finds by itself, not {len(keys)} of them"
        )
    if keys and profile:
        raise ValueError("keys and profile exclude each other: both say who you are")
    if role:
        check_role("role", role)
    for secret in keys[1:]:
        withhold(secret, _INSTEAD)
    return Account(tuple(keys), region, profile, endpoint_url, role)


# What it refuses is refused where it is written, not when the account is first needed.
vars(account)["check_options"] = account
