"""boto3: sessions, clients and what they refuse; imported at the first use."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import threading
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from . import _lasting
from ._exchange import Exchange
from ._upkeep import Upkeep
from .errors import translated

if TYPE_CHECKING:
    from collections.abc import Generator

    from ._account import Account

log = logging.getLogger("entangle.aws")

_RENEW: Final = 300.0  # seconds before their end that a role's credentials are renewed
# Seconds for which a role is asked for: what it allows is between one hour and twelve.
_LENGTHS: Final = (43_200, 21_600, 10_800)
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
        upkeep: Looks after what it shares with other programs.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lock = threading.RLock()
        self._clients: dict[tuple[str, bool], Any] = {}
        self._own: Any = None
        self._expires = math.inf  # when a role ends that was taken on
        self._since = 0.0  # when credentials were taken
        self._life = 0.0  # for how many seconds they are good; 0 if that is not known
        self._lengths: tuple[int, ...] = _LENGTHS
        self._identity: dict[str, str] = {}
        self._exchange: Exchange | None = None
        self.users = 0
        self.upkeep = Upkeep()

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
            exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()
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
                    self._use(*self._opened())
                tries = 1 if once else _TRIES
                found = self._made(self._own, service, tries)
                self._clients[service, once] = found
            return found

    @property
    def exchange(self) -> Exchange:
        """What waits for many answers."""
        with self._lock, asking("sts"):
            if self._exchange is None:
                core: Any = import_module("botocore.session")
                settings = core.Session(profile=self._account.profile or None)
                bundle: str | None = settings.get_config_variable("ca_bundle")
                self._exchange = Exchange(bundle or "")
            return self._exchange

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

    @property
    def partition(self) -> str:
        """What ARNs begin with after ``arn:``: China has its own, and the government."""
        return self.arn.split(":")[1]

    def _asked_for(self) -> dict[str, str]:
        if not self._identity:
            with asking("sts"):
                self._identity = self.client("sts").get_caller_identity()
        return self._identity

    def good_until(self) -> float:
        """Return when the credentials end, and renew them first if half is over.

        What is signed with them is good no longer than they are.

        Returns:
            Seconds since the epoch; infinity if they don't end, or nobody can know it.

        Raises:
            AwsError: They can't be had.
        """
        with self._lock:
            self.client("s3")
            with asking("sts"):
                left = self._left(self._own, self._expires)
            # Who signs for the first time may have had them for long.
            age = 0.0 if self._life else time.time() - self._since
            self._life = max(self._life, left + age)
            if left < self._life / 2:
                self._renew(left)
                with asking("sts"):
                    left = self._left(self._own, self._expires)
                # Where there are no better ones, not each signature asks for them.
                self._life = max(left, 1.0)
            return time.time() + left

    def _renew(self, left: float) -> None:
        """Take others where they last longer; else these still do."""
        if self._asks():
            return
        try:
            with asking("sts"):
                own, expires = self._opened()
                longer = self._left(own, expires) > left
        except Exception as error:  # noqa: BLE001 - said again when they are over
            log.info("credentials are not renewed yet: %s", error)
            return
        if longer:
            self._clients.clear()
            self._use(own, expires)

    def _use(self, own: Any, expires: float) -> None:
        self._own, self._expires, self._since = own, expires, time.time()
        self._life = 0.0 if expires == math.inf else expires - self._since

    def _asks(self) -> bool:
        """Tell whether somebody would be asked for a code, who may not be there."""
        core: Any = import_module("botocore.session")
        settings = core.Session(profile=self._account.profile or None)
        profiles: dict[str, dict[str, Any]] = settings.full_config["profiles"]
        name = settings.profile or "default"
        while profile := profiles.pop(name, {}):
            if "mfa_serial" in profile:
                return True
            name = profile.get("source_profile", "")
        return False

    def _left(self, own: Any, expires: float) -> float:
        """Return for how many seconds a session's credentials are good."""
        if expires != math.inf:
            return expires - time.time()
        return _lasting.seconds(own.get_credentials())

    def _opened(self) -> tuple[Any, float]:
        """Return a session of boto3's, and when a role that it has taken on ends."""
        boto3: Any = import_module("boto3")
        given = self._account
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        options: dict[str, Any] = dict(zip(names, given.keys, strict=False))
        options["region_name"] = given.region or None
        options["profile_name"] = given.profile or None
        session: Any = boto3.Session(**options)
        if not given.role:
            return session, math.inf
        with (
            asking("sts", f"role {given.role}"),
            contextlib.closing(self._made(session, "sts")) as asked,
        ):
            taken = self._taken_on(asked)
        session = boto3.Session(
            aws_access_key_id=taken["AccessKeyId"],
            aws_secret_access_key=taken["SecretAccessKey"],
            aws_session_token=taken["SessionToken"],
            region_name=session.region_name,
        )
        return session, taken["Expiration"].timestamp()

    def _taken_on(self, sts: Any) -> dict[str, Any]:
        """Take the role on, for as long as it allows; how long it doesn't say."""
        known: Any = import_module("botocore.exceptions")
        role = {"RoleArn": self._account.role, "RoleSessionName": "entangle"}
        while self._lengths:
            try:
                answer = sts.assume_role(**role, DurationSeconds=self._lengths[0])
            except known.ClientError as error:
                said = error.response["Error"]
                if said["Code"] not in {"ValidationError", "AccessDenied"}:
                    raise
                # A role that is taken on by another has an hour and no more; a policy
                # may ask for a length, which is none of these then.
                last = said["Code"] != "ValidationError" or "chain" in said["Message"]
                self._lengths = () if last else self._lengths[1:]
            else:
                return dict(answer["Credentials"])
        return dict(sts.assume_role(**role)["Credentials"])

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


def region_of(account: Account) -> str:
    """Return the region that boto3 uses for an account; empty if it knows none.

    Nobody is asked for it.
    """
    if account.region:
        return account.region
    known: Any = import_module("botocore.exceptions")
    core: Any = import_module("botocore.session")
    try:
        settings = core.Session(profile=account.profile or None)
        return settings.get_config_variable("region") or ""
    except known.BotoCoreError:
        return ""  # such as no such profile: who uses it is told so


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


def _forget() -> None:
    """In a forked child: its parent's threads and connections are not its own."""
    global _lock, _sessions
    _lock, _sessions = threading.RLock(), {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


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
