"""boto3: the only module that imports it, at the first use."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from entangle.errors import PlaceBusyError

from .errors import translated

if TYPE_CHECKING:
    from collections.abc import Generator

    from ._account import Account

_RENEW: Final = 300.0  # seconds before their end that a role's credentials are renewed
_TRIES: Final = 5
_CONNECTIONS: Final = 32
# A function may answer after a quarter of an hour.
_PATIENCE: Final = {"lambda": 930}

_lock = threading.RLock()
_sessions: dict[Account, Session] = {}


class Session:
    """The clients of one account; shared by all who have asked for it. Thread-safe.

    Args:
        account: Whose.

    Attributes:
        users: How many have asked for it and not closed it.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lock = threading.RLock()
        self._clients: dict[tuple[str, bool], Any] = {}
        self._own: Any = None
        self._expires = float("inf")
        self._identity: dict[str, str] = {}
        self.users = 0

    def close(self) -> None:
        """Not needed any more by one who has asked for it; the last closes it."""
        with _lock:
            self.users -= 1
            if self.users or _sessions.get(self._account) is not self:
                return
            del _sessions[self._account]
        with self._lock:
            clients, self._clients = [*self._clients.values()], {}
            self._own = None
        for client in clients:
            client.close()

    def client(self, service: str, *, once: bool = False) -> Any:
        """Return the client of a service.

        Args:
            service: Its name.
            once: Whether a request is sent once, whatever becomes of it.

        Raises:
            AwsError: There is no region, profile, or role.
        """
        with self._lock, asking(service):
            if self._expires - time.time() < _RENEW:
                self._clients.clear()
                self._own = None
            found = self._clients.get((service, once))
            if found is None:
                if self._own is None:
                    self._own = self._opened()
                tries = 1 if once else _TRIES
                found = self._made(self._own, service, tries)
                self._clients[service, once] = found
            return found

    @property
    def region(self) -> str:
        """The region that is used."""
        return str(self.client("sts").meta.region_name)

    @property
    def profile(self) -> str:
        """The profile that programs of AWS's own are to use; empty for the default."""
        return self._account.profile

    def variables(self) -> dict[str, str]:
        """Return what makes programs of AWS's own use these credentials, too.

        That is for their environment, on this machine; empty where they find what
        boto3 finds.
        """
        if not (self._account.keys or self._account.role):
            return {}
        with self._lock, asking("sts"):
            self.client("sts")  # which takes the role on, or renews it
            found = self._own.get_credentials().get_frozen_credentials()
        return {
            "AWS_ACCESS_KEY_ID": found.access_key,
            "AWS_SECRET_ACCESS_KEY": found.secret_key,
            "AWS_SESSION_TOKEN": found.token or "",
        }

    @property
    def number(self) -> str:
        """The account's number."""
        return self._asked_for()["Account"]

    @property
    def arn(self) -> str:
        """Who is asking: a user, or a role that was taken on."""
        return self._asked_for()["Arn"]

    def _asked_for(self) -> dict[str, str]:
        if not self._identity:
            with asking("sts"):
                self._identity = self.client("sts").get_caller_identity()
        return self._identity

    def _opened(self) -> Any:
        boto3: Any = import_module("boto3")
        given = self._account
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        options: dict[str, Any] = dict(zip(names, given.keys, strict=False))
        options["region_name"] = given.region or None
        options["profile_name"] = given.profile or None
        session: Any = boto3.Session(**options)
        if given.role:
            with (
                asking("sts", f"role {given.role}"),
                contextlib.closing(self._made(session, "sts")) as asked,
            ):
                answer = asked.assume_role(
                    RoleArn=given.role, RoleSessionName="entangle"
                )
            taken = answer["Credentials"]
            self._expires = taken["Expiration"].timestamp()
            session = boto3.Session(
                aws_access_key_id=taken["AccessKeyId"],
                aws_secret_access_key=taken["SecretAccessKey"],
                aws_session_token=taken["SessionToken"],
                region_name=session.region_name,
            )
        return session

    def _made(self, session: Any, service: str, tries: int = _TRIES) -> Any:
        url = self._account.endpoint_url or None
        config = _config(service, tries)
        made = session.client(service, endpoint_url=url, config=config)
        address = urlsplit(str(made.meta.endpoint_url)).hostname or ""
        if service == "s3" and ".amazonaws." in f".{address}":
            # Else what it signs goes by the address of no region, which redirects for
            # as long as a bucket is new: and a signature is for one address.
            made.close()
            config = _config(service, tries, s3={"addressing_style": "virtual"})
            made = session.client(service, endpoint_url=url, config=config)
        return made


def _config(service: str, tries: int, **more: Any) -> Any:
    return import_module("botocore.config").Config(
        retries={"mode": "standard", "total_max_attempts": tries},
        max_pool_connections=_CONNECTIONS,
        connect_timeout=10,
        read_timeout=_PATIENCE.get(service, 60),
        # A quiet connection is dropped on the way after some minutes.
        tcp_keepalive=True,
        user_agent_extra="entangle",
        # Addresses are for who knows nothing of this SDK.
        signature_version="s3v4" if service == "s3" else None,
        **more,
    )


def version() -> str:
    """Return the version of boto3.

    Raises:
        ImportError: It is not there.
    """
    return str(import_module("boto3").__version__)


def session(account: Account) -> Session:
    """Return the session of an account, which all of this process share.

    Who asks for it closes it.
    """
    with _lock:
        found = _sessions.get(account)
        if found is None:
            found = _sessions[account] = Session(account)
        found.users += 1
        return found


def token(name: str) -> str:
    """Return what makes one request known again, when boto3 sends it another time.

    Each that is asked for has its own: one that was refused for lack of room keeps its
    token at AWS, where another request with the same is an error.
    """
    return f"{name}-{secrets.token_hex(4)}"


def lost(error: BaseException) -> bool:
    """Tell whether what was raised is of the network."""
    known: Any = import_module("botocore.exceptions")
    return isinstance(error, (known.HTTPClientError, known.ConnectionError))


def passing(error: BaseException) -> bool:
    """Tell whether what was raised may be otherwise soon: the network, say."""
    return isinstance(error, PlaceBusyError) or lost(error)


def unsent(error: BaseException) -> bool:
    """Tell whether what was raised means that nothing was sent."""
    known: Any = import_module("botocore.exceptions")
    return isinstance(error, (known.EndpointConnectionError, known.ConnectTimeoutError))


@contextlib.contextmanager
def asking(service: str, resource: str = "") -> Generator[None]:
    """Raise what AWS refuses inside as an error that says what to do.

    Args:
        service: Which service is asked.
        resource: What it is asked about.
    """
    known: Any = import_module("botocore.exceptions")
    try:
        yield
    except (known.BotoCoreError, known.ClientError) as error:
        better = translated(error, service, resource)
        if better is None:
            raise
        raise better from error
