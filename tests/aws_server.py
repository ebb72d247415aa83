"""A stand-in for AWS: moto speaks for the service, containers do what it would run.

On the client's side nothing is replaced: boto3 speaks HTTP to a server on the loopback.
Behind it moto keeps the books; where the service would start something, a container of
the local Docker Engine is started, from the very zip, task definition or user data that
the client has sent. Internals of moto are used for that, so its version is fixed.
"""

import base64
import contextlib
import threading
import time
import urllib.request
import uuid

import moto.awslambda.models as lambda_models
from aws_instances import Instances
from aws_sandbox import LARGEST, Sandbox
from aws_sessions import Sessions
from aws_tasks import Tasks
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.exceptions import JsonRESTError
from moto.logs.exceptions import ResourceNotFoundException
from moto.logs.models import LogsBackend, logs_backends
from moto.moto_api import state_manager
from moto.server import ThreadedMotoServer

LABEL = "entangle-aws-test"
REGION = "us-east-1"


def environment(url):
    """Return the credentials, the region and the address of an account."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
    }


class ThrottledError(JsonRESTError):
    """More at once than there may be."""

    code = 429

    def __init__(self):
        super().__init__("TooManyRequestsException", "Rate Exceeded.")


class StandIn:
    """The server with all that it runs."""

    def __init__(self, engine, image):
        self.name = uuid.uuid4().hex[:8]
        self.engine = engine
        self.image = image
        self.labels = {LABEL: self.name}
        self.folder = None
        self._undo = []
        self._added = []
        self._warm = {}
        self._unasked = []
        self._running = {}
        self.most_at_once = self.throttled = 0
        self._lock = threading.Lock()
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self.url = "http://{}:{}".format(*self._server.get_host_and_port())
        # What it knows is the process's, and is still there from another module.
        reset = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset).close()
        state_manager.set_transition(
            "ecs::task", {"progression": "manual", "times": 10**9}
        )
        self.replace(lambda_models.LambdaFunction, "invoke", self._invoking)
        self.replace(LogsBackend, "filter_log_events", self._filtering)
        self.tasks = Tasks(self)
        self.instances = Instances(self)
        self.sessions = Sessions(self)

    def environment(self):
        """Return the credentials that what runs here has."""
        return environment(self.url)

    def shared(self):
        """Return the volume by which a test looks into what runs, if it wants to."""
        if self.folder is None:
            return {}
        return {str(self.folder): {"bind": str(self.folder), "mode": "rw"}}

    def replace(self, owner, name, make):
        """Put something else into the place of one of moto's functions."""
        before = getattr(owner, name)
        setattr(owner, name, make(before))
        self._undo.append((owner, name, before))

    def add(self, owner, name, function):
        """Give moto a function that it has not."""
        assert not hasattr(owner, name), f"moto has {name} by now: look whether it does"
        setattr(owner, name, function)
        self._added.append((owner, name))

    def has_group(self, group):
        """Tell whether a log group is there."""
        return group in logs_backends[DEFAULT_ACCOUNT_ID][REGION].groups

    def log(self, group, stream, lines):
        """Write lines to CloudWatch's logs, as Docker's driver for them does."""
        backend = logs_backends[DEFAULT_ACCOUNT_ID][REGION]
        if group not in backend.groups:
            return
        if stream not in backend.groups[group].streams:
            backend.create_log_stream(group, stream)
        now = int(time.time() * 1000)
        events = [
            {"timestamp": now, "message": piece.decode(errors="replace")}
            for line in lines
            # What is empty is left out, what is long is cut.
            for piece in (line[at : at + 16384] for at in range(0, len(line), 16384))
        ]
        if events:
            backend.put_log_events(group, stream, events)

    def _filtering(self, before):
        def filter_log_events(backend, group, streams, *args, **options):
            """Refuse a request that names a stream that is not there, as AWS does."""
            known = backend.groups.get(group)
            if known is None:
                raise ResourceNotFoundException(
                    "The specified log group does not exist."
                )
            if not set(streams or ()) <= set(known.streams):
                raise ResourceNotFoundException(
                    "The specified log stream does not exist."
                )
            return before(backend, group, streams, *args, **options)

        return filter_log_events

    # -- Lambda ------------------------------------------------------------------------

    def _invoking(self, before):
        del before

        def invoke(function, body, request, response):
            event = body if isinstance(body, bytes) else (body or "{}").encode()
            kind = request.get("x-amz-invocation-type", "RequestResponse")
            if kind == "Event":
                thread = threading.Thread(target=self._run, args=(function, event))
                thread.start()
                self._unasked.append(thread)
                return b""
            if len(event) > LARGEST:
                raise lambda_models.InvalidParameterValueException(
                    f"Request must be smaller than {LARGEST} bytes"
                )
            with self._room(function):
                invocation, text = self._run(function, event)
            if invocation.failed:
                response["x-amz-function-error"] = "Unhandled"
            if request.get("x-amz-log-type") == "Tail":
                tail = text.encode()[-4096:]
                response["x-amz-log-result"] = base64.b64encode(tail).decode()
            return invocation.body

        return invoke

    @contextlib.contextmanager
    def _room(self, function):
        """Refuse more at once than is reserved, as the service does."""
        most = function.reserved_concurrency
        name = function.function_arn
        with self._lock:
            running = self._running[name] = self._running.get(name, 0) + 1
            self.most_at_once = max(self.most_at_once, running)
            full = most is not None and running > most
            self.throttled += full
        try:
            if full:
                raise ThrottledError
            yield
        finally:
            with self._lock:
                self._running[name] -= 1

    def _run(self, function, event):
        key = function.function_arn, function.code_sha_256
        with self._lock:
            warm = self._warm.setdefault(key, [])
            sandbox = warm.pop() if warm else None
        if sandbox is None:
            sandbox = Sandbox(
                self.engine,
                self.image,
                function,
                self.environment(),
                self.labels,
                self.shared(),
            )
        invocation, new, alive = sandbox.invoke(event)
        if alive and not invocation.failed:
            with self._lock:
                self._warm[key].append(sandbox)
        else:
            sandbox.close()
        name = invocation.name
        text = (
            f"START RequestId: {name}\n{new.decode(errors='replace')}"
            f"END RequestId: {name}\nREPORT RequestId: {name}\n"
        )
        logs_backends[DEFAULT_ACCOUNT_ID][REGION].ensure_log_group(
            function.logs_group_name
        )
        stream = f"[$LATEST]{sandbox.container.id[:12]}"
        self.log(function.logs_group_name, stream, text.encode().splitlines())
        return invocation, text

    def running(self):
        """Return how many invocations are under way."""
        with self._lock:
            return sum(self._running.values())

    def rest(self):
        """End the sandboxes that wait for more: a test leaves nothing behind."""
        self.most_at_once = self.throttled = 0
        self.tasks.rest()
        self.instances.rest()
        self.sessions.rest()
        while self._unasked:
            self._unasked.pop().join()
        for warm in self._warm.values():
            while warm:
                warm.pop().close()

    # -- end ---------------------------------------------------------------------------

    def close(self):
        """End everything that was started, and give moto back its own."""
        for owner, name, before in reversed(self._undo):
            setattr(owner, name, before)
        for owner, name in self._added:
            delattr(owner, name)
        self.rest()
        self.sessions.close()
        for container in self.containers():
            with contextlib.suppress(Exception):
                container.remove(force=True)
        self._server.stop()

    def containers(self):
        """Return the containers that were started here, and are not removed."""
        label = f"{LABEL}={self.name}"
        return self.engine.containers.list(
            all=True, filters={"label": label}, ignore_removed=True
        )
