"""The functions that run tasks on Lambda: made once, known by what is in them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import secrets
import sys
import threading
import time
import zipfile
from typing import TYPE_CHECKING, Any, Final

from entangle.backend import JOB_HANDLER, job_archive, owner_tags
from entangle.errors import PlaceBusyError

from . import _packages, _sdk
from ._logs import LogGroup
from ._reserved import Reservation
from ._s3 import S3Store
from ._settling import Settling
from .errors import AwsError, PassingError

if TYPE_CHECKING:
    from ._sdk import Session

_DIRECT: Final = 50 << 20  # bytes of a zip that can be sent with the request
_MOST: Final = 250 << 20  # bytes of all that is unpacked, layers included
_PATIENCE: Final = 300.0  # seconds until a new function must be there
_DAY: Final = 86_400.0
_SELDOM: Final = 8.0
_OFTEN: Final = 0.5  # seconds between two looks at one that is being made
_FIXED_DATE: Final = (1980, 1, 1, 0, 0, 0)
_BEING_MADE: Final = frozenset(("ResourceConflictException", "ResourceInUseException"))
TAG: Final = "entangle-function"


class Runtime:
    """One function: made if need be, however many ask for it at once. Thread-safe.

    Attributes:
        version: Its version of Python.
        name: What it is called.
    """

    def __init__(
        self,
        session: Session,
        *,
        memory: int,
        timeout: int,
        packages: tuple[str, ...],
        architecture: str,
        python: str,
        storage: int,
        concurrency: int,
        role: str,
        bucket: str,
        layers: tuple[str, ...],
    ) -> None:
        here = sys.version_info[:2]
        major, minor = map(int, python.split(".")) if python else here
        self.version = (major, minor)
        self._session = session
        self._memory = memory
        self._timeout = timeout
        self._packages = tuple(sorted(packages))
        # Local files may change while their names stay.
        self._contents = [*map(_packages.identity, self._packages)]
        self._architecture = architecture
        self._storage = storage
        self._reserved = Reservation(session, concurrency)
        self._role = role
        self._bucket = bucket
        self._layers = layers
        self._lock = threading.Lock()
        self._ready = False
        self._settling = Settling()
        self.name = self._named()

    def ready(self) -> str:
        """Return the name of the function, which is there and takes calls.

        Raises:
            AwsError: It can't be made.
        """
        if self._wanting():
            with self._lock, contextlib.ExitStack() as uploads:
                if self._wanting():
                    if not self._there():
                        self._make(uploads)
                    self._reserved.hold(self._await())
                    self._shorten_log()
                    self._ready = True
        return self.name

    def gone(self) -> None:
        """It is not there any more: it is made again when it is next asked for."""
        self._ready = False

    def close(self) -> None:
        """Give back what was reserved for it."""
        self._reserved.release()

    @property
    def runtime(self) -> str:
        """What AWS calls its Python."""
        return f"python{self.version[0]}.{self.version[1]}"

    def _wanting(self) -> bool:
        return not self._ready or self._reserved.due()

    def _named(self) -> str:
        """Return a name that says what it is, and that all that differs makes differ."""
        about = (
            *(_digest(), self.runtime, self._memory, self._timeout),
            *(self._contents, self._architecture, self._storage, self._role),
            *self._layers,
        )
        digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
        version = "".join(map(str, self.version))
        return f"entangle-py{version}-{self._memory}-{digest}"

    def _there(self) -> bool:
        return self._configuration() is not None

    def _configuration(self) -> dict[str, Any] | None:
        client = self._session.client("lambda")
        try:
            with _sdk.asking("lambda", self.name):
                found: dict[str, Any] = client.get_function_configuration(
                    FunctionName=self.name
                )
        except AwsError as error:
            if error.code == "ResourceNotFoundException":
                return None
            raise
        return found

    def _make(self, uploads: contextlib.ExitStack) -> None:
        client = self._session.client("lambda")
        options = {
            "FunctionName": self.name,
            "Runtime": self.runtime,
            "Role": self._role_arn(),
            "Handler": JOB_HANDLER,
            "Code": self._code(uploads),
            "Description": "Runs tasks of Entangle; may be deleted at any time",
            "Timeout": self._timeout,
            "MemorySize": self._memory,
            "EphemeralStorage": {"Size": self._storage},
            "Architectures": [self._architecture],
            "Tags": {TAG: _digest()[:16]},
        }
        if self._layers:
            options["Layers"] = [*self._layers]
        pause = _OFTEN
        while True:
            try:
                with self._settling.known(), _sdk.asking("lambda", self.name):
                    client.create_function(**options)
            except PassingError:
                # With all of the code each time.
                time.sleep(pause)
                pause = min(2 * pause, _SELDOM)
            except AwsError as error:
                if error.code in _BEING_MADE:
                    return  # by another program, at this moment
                raise
            else:
                return

    def _await(self) -> str:
        """Wait until the function takes calls; return its ARN.

        Raises:
            AwsError: It never does.
        """
        patience = time.monotonic() + _PATIENCE
        while True:
            found = self._configuration() or {}
            state = found.get("State", "Active")
            update = found.get("LastUpdateStatus", "Successful")
            # One that was not called for weeks wakes up when it is.
            if found and state in {"Active", "Inactive"} and update != "InProgress":
                return str(found["FunctionArn"])
            if state == "Failed" or time.monotonic() > patience:
                why = found.get("StateReason") or f"it is {state} after {_PATIENCE:g} s"
                raise AwsError(
                    f"it can't be made: {why}",
                    service="lambda",
                    operation="CreateFunction",
                    resource=self.name,
                )
            time.sleep(_OFTEN)

    def _shorten_log(self) -> None:
        """Have its log kept for days: Lambda makes one that is kept for ever."""
        # It is no reason not to run that one may not, or not now.
        with contextlib.suppress(AwsError, PlaceBusyError):
            LogGroup(self._session, f"/aws/lambda/{self.name}").ensure()

    def _role_arn(self) -> str:
        if self._role.startswith("arn:"):
            return self._role
        try:
            with _sdk.asking("iam", f"role {self._role}"):
                found = self._session.client("iam").get_role(RoleName=self._role)
        except AwsError as error:
            if error.code != "NoSuchEntity":
                raise
            raise AwsError(
                "there is no such role: make one that lambda.amazonaws.com may assume, "
                "with the policy AWSLambdaBasicExecutionRole, or name another with "
                "@lmbda(execution_role=...)",
                service="iam",
                operation="GetRole",
                code="NoSuchEntity",
                resource=f"role {self._role}",
            ) from error
        return str(found["Role"]["Arn"])

    def _code(self, uploads: contextlib.ExitStack) -> dict[str, Any]:
        """Return where the code of the function is: with the request, or in the bucket.

        Args:
            uploads: Removes it from there.

        Raises:
            AwsError: It is too large.
        """
        data, size = self._zipped()
        if size > _MOST:
            raise self._too_large(
                f"its code has {size >> 20:,} MB unpacked, and 250 MB are allowed: take "
                "fewer packages, or put them into an image of your own"
            )
        if len(data) <= _DIRECT:
            return {"ZipFile": data}
        if not self._bucket:
            raise self._too_large(
                f"its code has {len(data) >> 20:,} MB, and 50 MB can be sent with the "
                "request: name a bucket for it with @lmbda(bucket=...)"
            )
        store = S3Store(self._session, self._bucket)
        # As values lie there: so a sweep finds it if this program is killed.
        folder = f"entangle/{secrets.token_hex(6)}/"
        owner, key = f"{folder}owner.json", f"{folder}function.zip"
        facts = owner_tags(self.name, time.time() + _DAY)
        store.put(owner, json.dumps(facts).encode())
        uploads.callback(self._removed, store, [key, owner])
        store.put(key, data)
        return {"S3Bucket": self._bucket, "S3Key": key}

    def _removed(self, store: S3Store, keys: list[str]) -> None:
        try:
            store.delete(keys)
        except Exception as error:  # noqa: BLE001 - the function is there all the same
            self._session.upkeep.warn(
                f"the code of {self.name} is left as {store.where(keys[0])}: {error}; "
                "`entangle sweep aws` removes it"
            )

    def _too_large(self, reason: str) -> AwsError:
        return AwsError(
            reason, service="lambda", operation="CreateFunction", resource=self.name
        )

    def _zipped(self) -> tuple[bytes, int]:
        """Return the code as a zip, and its size when it is unpacked."""
        file = io.BytesIO(job_archive())
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as made:
            if self._packages:
                with _packages.installed(
                    self._packages, self.version, self._architecture
                ) as folder:
                    # Of what the program brings itself its own counts.
                    ours = frozenset(made.namelist())
                    for path in sorted(folder.rglob("*")):
                        name = str(path.relative_to(folder))
                        if name in ours or "__pycache__" in path.parts:
                            continue
                        if path.is_file():
                            entry = zipfile.ZipInfo(name, _FIXED_DATE)
                            entry.compress_type = zipfile.ZIP_DEFLATED
                            entry.external_attr = 0o755 << 16
                            made.writestr(entry, path.read_bytes())
            for entry in made.infolist():
                # Whoever the function runs as must be able to read it.
                entry.external_attr = 0o755 << 16
            size = sum(entry.file_size for entry in made.infolist())
        return file.getvalue(), size


@functools.cache
def _digest() -> str:
    return hashlib.sha256(job_archive()).hexdigest()
