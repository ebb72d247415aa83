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
    lacking = "" if via == "ssm" else _lacking(options, via)
    if kept and lacking:
        raise OptionError(
            f"ec2(): {kept}= is for instances that stay for more calls, over sessions "
            f"of SSM, and {lacking}",
            decorator="ec2",
            option=kept,
        )
    if job and (via == "ssm" or kept):
        raise OptionError(
            f"ec2(): {job}= is for an instance for each call, which is via='job'",
            decorator="ec2",
            option=job,
        )
    return not lacking and not job


def _lacking(options: Mapping[str, Any], via: str) -> str:
    """Return what keeps instances from being reached by sessions, if anything does."""
    if via == "job":
        return "via='job' is given"
    if not options.get("instance_profile"):
        return "there is no instance_profile= that allows these"
    if shutil.which(PLUGIN) is None:
        return f"AWS's {PLUGIN} is not on the PATH of this machine: install it"
    return ""
