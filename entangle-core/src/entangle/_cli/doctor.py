"""`entangle doctor`: checks whether this machine is ready, and says what to do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from entangle._clean import clean
from entangle._seam.extensions import Finding

from . import checks
from .exits import INVALID, OK
from .main import examples
from .terminal import counted, troubles_are_listed

VERDICTS = ("ok", "warn", "fail")
_FIELDS = ("verdict", "subject", "text", "remedy")

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `entangle doctor`."""
    examples(parser, "doctor", "doctor --json")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.epilog = "Exits with 3 when something fails; warnings alone are fine."


def execute(arguments: argparse.Namespace) -> int:
    """Print the findings of every check and return the exit code."""
    troubles_are_listed()
    count: Counter[str] = Counter()
    found: list[dict[str, str]] = []
    for finding in findings():
        verdict = _verdict(finding)
        count[verdict] += 1
        if arguments.json:
            texts = (str(finding.subject), str(finding.text), str(finding.remedy))
            found.append(dict(zip(_FIELDS, (verdict, *texts), strict=True)))
        else:
            print(clean(line(finding)), flush=True)
    if arguments.json:
        from .data import printed

        printed(found)
        return INVALID if count["fail"] else OK
    warnings = counted(count["warn"], "warning")
    print(f"{count['ok']} ok, {warnings}, {counted(count['fail'], 'failure')}")
    return INVALID if count["fail"] else OK


def findings() -> Iterator[Finding]:
    """Yield what every plugin finds, core first, then what is wrong with plugins."""
    try:
        from entangle._seam.plugins import plugins

        plugins.all()
    except Exception as error:  # noqa: BLE001 - pluggy itself may be broken
        for check in checks.CHECKS:
            yield from check()
        text = f"{type(error).__name__}: {error}"
        yield Finding("fail", "plugins", text, "see the lines above")
        return
    for _, finding in plugins.each("entangle_doctor", Finding):
        yield finding
    plugins.executors()
    for plugin in plugins.all():
        yield from checks.plugin(plugin)


def line(finding: Finding) -> str:
    """Return a finding as text: verdict, subject, what was found, what to do."""
    text = f"{_verdict(finding):5} {finding.subject!s:14} {finding.text}"
    return f"{text}\n{'':21}{finding.remedy}" if finding.remedy else text


def _verdict(finding: Finding) -> str:
    # A plugin may have put anything there.
    return finding.verdict if finding.verdict in VERDICTS else "warn"
