"""What Entangle finds by the entry point: an executor's name, checks, a command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entangle.hooks import Command, Finding, Leftover, hookimpl

from . import survey
from .executor import LOCAL
from .processes import check_kernel
from .spool import SPOOLS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping

    from entangle.run import PlannedTask

ENTANGLE_SPI = 1

NAME = "onprem"


@hookimpl
def entangle_executors() -> Mapping[str, Callable[[], Any]]:
    """Name the executor, for ``@task(executor="onprem")`` and ``ENTANGLE_TARGETS``."""
    from . import onprem

    return {NAME: onprem}


@hookimpl
def entangle_doctor() -> Iterator[Finding]:
    """Check the kernel, and the spools that the environment names."""
    trouble = check_kernel()
    if trouble:
        yield Finding("fail", NAME, trouble, "use Linux 5.3 or newer")
    else:
        yield Finding("ok", NAME, "jobs can be ended with all that they start")
    for folder in survey.named():
        status = survey.status(folder)
        text = f"{folder}: {status}"
        if status.trouble:
            remedy = f"`python -m entangle_onprem.daemon {folder}`, or unset {SPOOLS}"
            yield Finding("warn", NAME, text, remedy)
        else:
            yield Finding("ok", NAME, text)


@hookimpl
def entangle_estimate(task: PlannedTask) -> Iterator[str]:
    """Say which queue a task's calls would join, and how they stand there."""
    if task.target != NAME:
        return
    host = str(task.options.get("host", LOCAL))
    slots = task.options.get("slots", 2)
    if host == LOCAL:
        yield f"onprem: a private spool, {slots} jobs at once"
    else:
        yield f"onprem: {slots} jobs at once in {host}: {survey.status(Path(host))}"


@hookimpl
def entangle_sweep(older_than: float) -> Iterator[Leftover]:
    """Find spools and jobs that have lost both their owner and their daemon."""
    return survey.leftovers(older_than)


@hookimpl
def entangle_commands() -> list[Command]:
    """Add ``entangle onprem-status``."""
    summary = "say who serves the queues of this machine, and what waits there"
    return [Command("onprem-status", summary, _configure, _execute)]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "spool",
        nargs="*",
        type=Path,
        help=f"by default those of {SPOOLS}, with the private ones of running programs",
    )


def _execute(arguments: argparse.Namespace) -> int:
    folders = arguments.spool or [*survey.named(), *survey.private()]
    for folder in folders:
        sys.stdout.write(f"{os.path.abspath(folder)}: {survey.status(folder)}\n")
    if not folders:
        sys.stdout.write(f"no spools: {SPOOLS} names none, and no program has one\n")
    return 0
