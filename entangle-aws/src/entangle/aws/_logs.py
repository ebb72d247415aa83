"""What tasks have printed, as CloudWatch has it."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from entangle.backend import LogPiece

from . import _sdk
from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._sdk import Session

# Seconds by which lines may come later than others that were printed after them: they
# are collected for some, and then there for reading some later.
_LATE: Final = 20.0
_DAYS: Final = 7  # that a log is kept
_HOLDS: Final = 60.0  # seconds until it is looked at again, while tasks are started
_NOT_THERE: Final = "ResourceNotFoundException"


class LogGroup:
    """A group of streams, one for each task. Thread-safe.

    Args:
        session: The account.
        name: What it is called.
    """

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self.name = name

    def ensure(self) -> None:
        """Make it, unless it is there; one that keeps all for ever is told not to.

        That is looked at once a minute at most.

        Raises:
            AwsError: It can't be made.
        """
        self._session.upkeep.of(self._about, self._ensure, _HOLDS)

    def doubt(self) -> None:
        """Have it looked at when it is next needed: it may not be there any more."""
        self._session.upkeep.doubt(self._about)

    def read(self, cursors: Mapping[str, str]) -> dict[str, LogPiece]:
        """Return what streams have: with one request, or one for each MB of it.

        Those that are read for the first time take another.

        Args:
            cursors: By stream, the time from which on it is to be read, as given with
                the last piece; empty for all.

        Raises:
            AwsError: It can't be read, or is not there.
        """
        first = [stream for stream, cursor in cursors.items() if not cursor]
        later = [stream for stream, cursor in cursors.items() if cursor]
        found = self._read(first, 0)
        if later:
            since = min(int(cursors[stream]) for stream in later)
            found |= self._read(later, since)
        return found

    @property
    def _client(self) -> Any:
        return self._session.client("logs")

    @property
    def _about(self) -> str:
        return f"log group {self.name}"

    def _ensure(self) -> None:
        found = self._found()
        if found is None:
            if not self._made():
                return
        elif "retentionInDays" in found:
            return
        # Its maker may have been ended before it could say so.
        try:
            with _sdk.asking("logs", self._about):
                self._client.put_retention_policy(
                    logGroupName=self.name, retentionInDays=_DAYS
                )
        except AwsError as error:
            if not error.action:
                raise
            self._session.upkeep.warn(
                f"{self._about} keeps what tasks have printed for ever: {error.reason}"
            )

    def _found(self) -> Mapping[str, Any] | None:
        """Return what it is like; None if it is not there, or one may not look."""
        try:
            with _sdk.asking("logs", self._about):
                # By the beginning of a name, which comes before those that go on.
                found = self._client.describe_log_groups(logGroupNamePrefix=self.name)
        except AwsError as error:
            if not error.action:
                raise
            return None
        several: list[dict[str, Any]] = found["logGroups"]
        return next(
            (each for each in several if each["logGroupName"] == self.name), None
        )

    def _made(self) -> bool:
        """Make it; return whether it was not there."""
        try:
            with _sdk.asking("logs", self._about):
                self._client.create_log_group(logGroupName=self.name)
        except AwsError as error:
            if error.code != "ResourceAlreadyExistsException":
                raise
            return False
        return True

    def _read(self, streams: list[str], since: int) -> dict[str, LogPiece]:
        if not streams:
            return {}
        try:
            return self._filtered(streams, since)
        except AwsError as error:
            if error.code != _NOT_THERE:
                raise
            if "log group" in str(error.__cause__):
                raise self._missing() from error
            # One that was not written to yet is not there, and spoils it for all.
            if len(streams) == 1:
                return {}
        half = len(streams) // 2
        found = self._read(streams[:half], since)
        return found | self._read(streams[half:], since)

    def _filtered(self, streams: list[str], since: int) -> dict[str, LogPiece]:
        options: dict[str, Any] = {"startTime": since} if since else {}
        lines: dict[str, list[str]] = {stream: [] for stream in streams}
        pages = self._client.get_paginator("filter_log_events")
        cursor = ""
        with _sdk.asking("logs", self._about):
            for page in pages.paginate(
                logGroupName=self.name, logStreamNames=streams, **options
            ):
                # By the clock there, and of the first page: more may come meanwhile.
                cursor = cursor or _moment(page, since)
                for event in page["events"]:
                    lines[event["logStreamName"]].append(event["message"])
        return {stream: LogPiece(lines[stream], cursor) for stream in streams}

    def _missing(self) -> AwsError:
        """Make it again, for tasks to come; return what to say of those that run."""
        self.doubt()
        try:
            self.ensure()
            now = "it is made again, for tasks to come"
        except Exception as error:  # noqa: BLE001 - it is part of what is said
            now = (
                f"it can't be made again ({error}): make it with `aws logs "
                f"create-log-group --log-group-name {self.name}`"
            )
        return AwsError(
            f"somebody has deleted it while tasks ran; {now}",
            service="logs",
            operation="FilterLogEvents",
            code=_NOT_THERE,
            resource=self._about,
        )


def _moment(page: Mapping[str, Any], before: int) -> str:
    """Return from when on to read the next time, in milliseconds."""
    said = page["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        now = parsedate_to_datetime(said).timestamp()
    except ValueError:
        return str(before or 1)
    return str(max(before, int((now - _LATE) * 1000), 1))
