"""`entangle doctor`: checks whether this machine is ready, and says what to do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .checks import CHECKS
from .exits import INVALID, OK

VERDICTS = ("ok", "warn", "fail")

if TYPE_CHECKING:
    import argparse

    from entangle._seam.extensions import Finding


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `entangle doctor`."""
    parser.epilog = "Exits with 3 when something fails; warnings alone are fine."


def execute(arguments: argparse.Namespace) -> int:
    """Print the findings of every check and return the exit code."""
    del arguments
    count: Counter[str] = Counter()
    for check in CHECKS:
        for finding in check():
            count[finding.verdict if finding.verdict in VERDICTS else "warn"] += 1
            print(line(finding), flush=True)
    print(f"{count['ok']} ok, {count['warn']} warnings, {count['fail']} failures")
    return INVALID if count["fail"] else OK


def line(finding: Finding) -> str:
    """Return a finding as text: verdict, subject, what was found, what to do."""
    # A plugin may have put anything there.
    verdict = finding.verdict if finding.verdict in VERDICTS else "warn"
    text = f"{verdict:5} {finding.subject!s:14} {finding.text}"
    return f"{text}\n{'':21}{finding.remedy}" if finding.remedy else text
