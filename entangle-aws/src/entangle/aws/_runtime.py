"""The functions that run tasks on Lambda: made once, known by what is in them."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import sys
import threading
import time
import zipfile
from typing import TYPE_CHECKING, Any, Final

from entangle.backend import JOB_HANDLER, job_archive

from . import _packages, _sdk
from .errors import AwsError

if TYPE_CHECKING:
    from ._sdk import Session

_DIRECT: Final = 50 << 20  # bytes of a zip that can be sent with the request
_MOST: Final = 250 << 20  # bytes of all that is unpacked, layers included
_PATIENCE: Final = 300.0  # seconds until a new function must be there
_SETTLING: Final = 60.0  # seconds until a new role is known everywhere
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
        self._architecture = architecture
        self._storage = storage
        self._concurrency = concurrency
        self._role = role
        self._bucket = bucket
        self._layers = layers
        self._lock = threading.Lock()
        self._ready = False
        self.name = self._named()

    def ready(self) -> str:
        """Return the name of the function, which is there and takes calls.

        Raises:
            AwsError: It can't be made.
        """
        if not self._ready:
            with self._lock:
                if not self._ready:
                    if not self._there():
                        self._make()
                    self._await()
                    self._reserve()
                    self._ready = True
        return self.name

    def gone(self) -> None:
        """It is not there any more: it is made again when it is next asked for."""
        self._ready = False

    @property
    def runtime(self) -> str:
        """What AWS calls its Python."""
        return f"python{self.version[0]}.{self.version[1]}"

    def _named(self) -> str:
        """Return a name that says what it is, and that all that differs makes differ."""
        about = (
            *(_digest(), self.runtime, self._memory, self._timeout),
            *(self._packages, self._architecture, self._storage, self._role),
            *(self._layers, self._concurrency),
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

    def _make(self) -> None:
        client = self._session.client("lambda")
        options = {
            "FunctionName": self.name,
            "Runtime": self.runtime,
            "Role": self._role_arn(),
            "Handler": JOB_HANDLER,
            "Code": self._code(),
            "Description": "Runs tasks of Entangle; may be deleted at any time",
            "Timeout": self._timeout,
            "MemorySize": self._memory,
            "EphemeralStorage": {"Size": self._storage},
            "Architectures": [self._architecture],
            "Tags": {TAG: _digest()[:16]},
        }
        if self._layers:
            options["Layers"] = [*self._layers]
        patience, pause = time.monotonic() + _SETTLING, _OFTEN
        while True:
            try:
                with _sdk.asking("lambda", self.name):
                    client.create_function(**options)
            except AwsError as error:
                if error.code in _BEING_MADE:
                    return  # by another program, at this moment
                # A role that was just made is not known everywhere yet.
                unknown = "cannot be assumed" in str(error)
                if not unknown or time.monotonic() > patience:
                    raise
            else:
                return
            # With all of the code each time.
            time.sleep(pause)
            pause = min(2 * pause, _SELDOM)

    def _await(self) -> None:
        """Wait until the function takes calls.

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
                return
            if state == "Failed" or time.monotonic() > patience:
                why = found.get("StateReason") or f"it is {state} after {_PATIENCE:g} s"
                raise AwsError(
                    f"it can't be made: {why}",
                    service="lambda",
                    operation="CreateFunction",
                    resource=self.name,
                )
            time.sleep(_OFTEN)

    def _reserve(self) -> None:
        if self._concurrency:
            client = self._session.client("lambda")
            with _sdk.asking("lambda", self.name):
                client.put_function_concurrency(
                    FunctionName=self.name,
                    ReservedConcurrentExecutions=self._concurrency,
                )

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

    def _code(self) -> dict[str, Any]:
        """Return where the code of the function is: with the request, or in the bucket.

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
        key = f"entangle-functions/{self.name}.zip"
        with _sdk.asking("s3", f"s3://{self._bucket}/{key}"):
            self._session.client("s3").put_object(
                Bucket=self._bucket, Key=key, Body=data
            )
        return {"S3Bucket": self._bucket, "S3Key": key}

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
