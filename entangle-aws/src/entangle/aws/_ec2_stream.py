"""Tasks on AWS EC2: instances that stay for more calls, reached over sessions of SSM."""

from __future__ import annotations

import random
import secrets
import shutil
import threading
import time
from collections.abc import Sequence  # noqa: TC003 - options are checked by it
from typing import TYPE_CHECKING, Any, ClassVar, Final

from entangle.backend import Capabilities, Pace, StreamExecutor, owner_tags
from entangle.secrets import withheld

from . import _ec2_machines, _network, _sdk
from ._account import HERE, Account
from ._ec2_machines import Machines, Wish
from ._ways import PLUGIN, Via
from .errors import AwsError, PassingError

if TYPE_CHECKING:
    from entangle.backend import Stream

    from ._ec2_instance import Instance
    from ._ec2_session import Key

_BOOT: Final = 540.0  # seconds until an instance has to be reached
_UNREACHABLE: Final = frozenset(("TargetNotConnected", "InvalidInstanceId"))
_REGISTERED: Final = (
    "it is not registered with SSM: its instance profile has to have the policy "
    "AmazonSSMManagedInstanceCore, its image SSM's agent, and its subnet a way to SSM"
)


class Ec2StreamExecutor(StreamExecutor):
    """Runs calls in instances of EC2 that stay for more calls, over sessions of SSM.

    The image needs a Python from 3.9 on, a shell that runs user data, and SSM's agent,
    as Amazon's own have; nothing is let in. An instance is started when a call needs
    it, is used by all runs of the program, and is terminated when it was idle, or at
    the end of the program. It terminates itself when its client is gone, and at its
    ``lifetime`` at the latest.

    Args:
        via: How instances are reached: ``"job"`` for an instance for each call,
            ``"ssm"`` for instances that stay for more calls; ``"auto"`` for the second
            where it is possible.
        ami: The image; by default the newest Amazon Linux 2023, looked up in SSM.
        instance_type: The type of the instances.
        python: What their Python is called.
        subnet: The subnet; empty for one of the default VPC.
        security_groups: The security groups; by default one that lets nothing in.
        public_ip: Whether they get a public address; by default what the subnet says.
        instance_profile: The instance profile, by name, that lets SSM's agent in; empty
            where the account has a default for that.
        spot: Whether spare capacity is used: cheaper, and it may be taken away.
        disk: GB of a disk; 0 for what the image says.
        instances: How many there are at once, at most.
        calls: How many calls one runs at once, each in a process of its own; by default
            as many as it has processors.
        fresh: Whether each call gets an instance of its own, which ends then.
        idle: Seconds after which an unused instance is terminated.
        lifetime: Seconds after which an instance ends, whatever it does.
        trust: Whether instances are trusted with this account, as pickles are. If not,
            nothing that comes from them is unpickled.
    """

    capabilities: ClassVar[Capabilities] = StreamExecutor.capabilities._replace(
        paid=True
    )
    # Half the world may be between.
    silence: ClassVar[float] = 15.0
    pace: ClassVar[Pace] = Pace(first=2.0, factor=1.3, most=8.0)

    def __init__(
        self,
        *,
        aws: Account = HERE,
        via: Via = "ssm",
        ami: str = "",
        instance_type: str = "t3.small",
        python: str = "python3",
        subnet: str = "",
        security_groups: Sequence[str] = (),
        public_ip: bool | None = None,
        instance_profile: str = "",
        spot: bool = False,
        disk: int = 0,
        instances: int = 1,
        calls: int | None = None,
        fresh: bool = False,
        idle: float = 300.0,
        lifetime: float = 21_600.0,
        trust: bool = True,
    ) -> None:
        super().__init__(
            places=instances, calls=calls, once=fresh, idle=idle, trust=trust
        )
        del via  # it has led here
        self._wish = Wish(
            ami=ami,
            instance_type=instance_type,
            python=python,
            subnet=subnet,
            security_groups=tuple(security_groups),
            public_ip=public_ip,
            instance_profile=instance_profile,
            spot=spot,
            disk=disk,
        )
        self._session = _sdk.session(aws)
        self._machines = Machines(self._session, self._wish)
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._unwanted = threading.Event()
        self._closed = False

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse what types can't tell.

        Raises:
            ValueError: An option has an unusable value.
        """
        _ec2_machines.check_wish(**options)
        instances = options.get("instances", 1)
        if instances < 1:
            raise ValueError(f"instances must be at least 1, not {instances}")
        cls.check_terms(calls=options.get("calls"), idle=options.get("idle"))

    @property
    def label(self) -> str:
        """What the place is called in messages."""
        return f"ec2(instance_type={self._wish.instance_type!r})"

    def open(self, command: Sequence[str]) -> Stream:
        """Start an instance and a Python in it.

        Raises:
            PlaceBusyError: There is no capacity now, or a quota is used up.
            AwsError: It can't be started, or not be reached.
        """
        # Imported here: a program may be decorated and never run.
        from ._ec2_session import Key

        with self._lock:
            unwanted = self._unwanted
        plugin = _plugin()
        key = Key()
        instance = self._launched(key, unwanted)
        try:
            return self._reached(instance, plugin, key, command, unwanted)
        except BaseException:
            instance.end()
            raise

    def unwanted(self) -> None:
        """End what is being started."""
        with self._lock:
            unwanted, self._unwanted = self._unwanted, threading.Event()
        unwanted.set()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base class
        """Take no more calls, terminate the instances, let go of the clients."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if not wait:
            threading.Thread(
                target=self.shutdown, name="entangle-aws-end", daemon=True
            ).start()
            return
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._session.close()

    def _launched(self, key: Key, unwanted: threading.Event) -> Instance:
        """Start an instance; what AWS refuses for the moment is asked for again."""
        from ._ec2_instance import Instance

        call = self.opened_for
        task = call.name if call is not None else "task"
        until, pause = time.monotonic() + _BOOT, self.pace.first
        while True:
            expires = time.time() + self._lifetime
            try:
                name = self._machines.launch(
                    f"entangle-{secrets.token_hex(6)}",
                    task,
                    owner_tags(task, expires),
                    key.work(self._wish.python, _BOOT),
                    expires,
                )
            except PassingError:
                if time.monotonic() > until:
                    raise
            else:
                return Instance(self._machines, name, expires)
            # By chance sooner or later: others were refused at the same time.
            if unwanted.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311 - no secret
                raise AwsError("nobody waits for it any more", resource=self.label)
            pause = min(pause * self.pace.factor, self.pace.most)

    def _reached(
        self,
        instance: Instance,
        plugin: str,
        key: Key,
        command: Sequence[str],
        unwanted: threading.Event,
    ) -> Stream:
        """Wait until an instance has booted, and connect to it."""
        until = time.monotonic() + _BOOT
        pause = self.pace.first
        while True:
            tried = self._tried(instance, plugin, key, command, unwanted)
            if not isinstance(tried, str):
                return tried
            if time.monotonic() > until:
                raise instance.failure(f"after {_BOOT:g} s {tried}")
            if unwanted.wait(pause):
                raise AwsError("nobody waits for it any more", resource=instance.name)
            pause = min(pause * self.pace.factor, self.pace.most)

    def _tried(
        self,
        instance: Instance,
        plugin: str,
        key: Key,
        command: Sequence[str],
        unwanted: threading.Event,
    ) -> Stream | str:
        """Try to connect to an instance; return what keeps it from that for now."""
        from ._ec2_session import Refused, connected

        try:
            instance.check()
            return self._lacking(instance) or connected(
                self._session,
                plugin,
                instance,
                key,
                command,
                [*withheld()],
                unwanted.is_set,
            )
        except Refused as error:
            return f"its Python does not answer: {error}"
        except Exception as error:
            code = getattr(error, "code", "")
            if code in _UNREACHABLE or _network.passing(error):
                return str(error)
            raise

    def _lacking(self, instance: Instance) -> str:
        """Return what keeps an instance from being reached by SSM, if anything does."""
        wanted = [{"Key": "InstanceIds", "Values": [instance.name]}]
        with _sdk.asking("ssm", instance.name):
            client = self._session.client("ssm")
            found = client.describe_instance_information(Filters=wanted)
        for each in found["InstanceInformationList"]:
            if each["PingStatus"] == "Online":
                return ""
            return f"it is not connected to SSM, which says {each['PingStatus']}"
        return _REGISTERED


def _plugin() -> str:
    """Return where AWS's plugin is.

    Raises:
        AwsError: It is not there.
    """
    found = shutil.which(PLUGIN)
    if found is None:
        raise AwsError(
            f"{PLUGIN} is not on the PATH: install it (it is AWS's own program for "
            "sessions of SSM), or use @ec2(via='job')",
            service="ssm",
            operation="StartSession",
        )
    return found
