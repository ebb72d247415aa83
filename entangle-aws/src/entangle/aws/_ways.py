"""How EC2's instances are reached, as options and this machine allow."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final, Literal

from entangle.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

Via = Literal["auto", "ssm", "job"]
PLUGIN: Final = "session-manager-plugin"
"""AWS's program that speaks over sessions of SSM."""

_KEPT: Final = ("instances", "calls", "fresh", "idle", "trust")
_JOB: Final = ("bucket",)


def by_session(options: Mapping[str, Any]) -> bool:
    """Tell whether instances are kept and reached by sessions; else one is a job.

    Args:
        options: What ``@ec2`` was given.

    Raises:
        OptionError: There is an option that goes with the other way alone.
    """
    via = options.get("via", "auto")
    kept = next((name for name in _KEPT if name in options), "")
    job = next((name for name in _JOB if name in options), "")
    if kept and (via == "job" or not (via == "ssm" or _allowed(options))):
        why = "via='job' is given" if via == "job" else "there is no instance_profile="
        raise OptionError(
            f"ec2(): {kept}= is for instances that stay for more calls, over sessions "
            f"of SSM, and {why}",
            decorator="ec2",
            option=kept,
        )
    if job and (via == "ssm" or kept):
        raise OptionError(
            f"ec2(): {job}= is for an instance for each call, which is via='job'",
            decorator="ec2",
            option=job,
        )
    if via == "auto" and not kept:
        # Where a task is only imported, on its way, nothing else has to be there.
        return _allowed(options) and not job and shutil.which(PLUGIN) is not None
    return bool(via != "job")


def _allowed(options: Mapping[str, Any]) -> bool:
    """Tell whether instances have what lets SSM's agent in."""
    return bool(options.get("instance_profile"))
