"""Containers for EC2's instances: they run the user data, and end when it says so."""

import base64
import contextlib
import io
import tarfile
import threading

import docker.errors
from moto.core.responses import ActionResult
from moto.ec2.models import EC2Backend, instances
from moto.ec2.models.instances import StateReason
from moto.ec2.responses.general import General
from moto.ec2.utils import Base64EncodedString

# What the system's own would do: end all, which with its behaviour terminates it. Now,
# or in some minutes.
SHUTDOWN = b"""#!/bin/sh
case $2 in
now) kill -TERM 1;;
+*) (sleep $((${2#+} * 60)); kill -TERM 1) >/dev/null 2>&1 &;;
esac
"""
CODES = {"pending": 0, "running": 16, "terminated": 48}


class Instances:
    """Runs what is asked of EC2 in containers, and tells moto how they are."""

    def __init__(self, stand_in):
        self._stand_in = stand_in
        self._containers = {}
        self._threads = []
        self._profiles = {}
        self._printed = {}
        self.booted = set()
        self._lock = threading.Lock()
        self.boots = True
        self.refused = False
        self.busy = self._taken = None
        stand_in.replace(EC2Backend, "run_instances", self._running)
        stand_in.replace(instances.Instance, "terminate", self._terminating)
        stand_in.replace(General, "get_console_output", self._printing)

    def _running(self, before):
        def run_instances(backend, *args, **options):
            if self.busy is not None:
                self.refused = True
                raise self.busy
            profile = options.pop("iam_instance_profile_name", None)
            reservation = before(backend, *args, **options)
            for instance in reservation.instances:
                self._set(instance, "pending")
                self._profiles[instance.id] = profile
                thread = threading.Thread(target=self._run, args=(instance,))
                thread.start()
                with self._lock:
                    self._threads.append(thread)
            return reservation

        return run_instances

    def _terminating(self, before):
        def terminate(instance, *args, **options):
            result = before(instance, *args, **options)
            self._stop(instance.id)
            return result

        return terminate

    def _printing(self, before):
        del before

        def get_console_output(response):
            name = response._get_param("InstanceId")
            text = self._printed.get(name, b"").decode(errors="replace")
            output = Base64EncodedString.from_raw_string(text)
            return ActionResult({"InstanceId": name, "Output": output})

        return get_console_output

    def _set(self, instance, name):
        instance._state.name, instance._state.code = name, CODES[name]

    def _stop(self, name):
        with self._lock:
            container = self._containers.get(name)
        if container is not None:
            with contextlib.suppress(docker.errors.APIError):
                container.kill()

    def _run(self, instance):
        text = base64.b64decode(str(instance.user_data)) if instance.user_data else b""
        container = self._stand_in.engine.containers.create(
            self._stand_in.image,
            ["/user-data"],
            # What SSM's agent reaches by the instance's own loopback nothing else has to.
            network_mode="none" if self._profiles[instance.id] else "host",
            init=True,
            volumes=self._stand_in.shared(),
            labels=self._stand_in.labels,
        )
        files = io.BytesIO()
        with tarfile.open(fileobj=files, mode="w") as archive:
            for path, data in (("user-data", text), ("usr/bin/shutdown", SHUTDOWN)):
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(data), 0o755
                archive.addfile(entry, io.BytesIO(data))
        container.put_archive("/", files.getvalue())
        with self._lock:
            self._containers[instance.id] = container
        gone = instance._state.name != "pending"
        if self.boots and not gone:
            container.start()
            self.booted.add(instance.id)
            self._set(instance, "running")
            container.wait()
            self._printed[instance.id] = container.logs()
        elif not gone:
            self._set(instance, "running")
            return
        container.remove(force=True)
        instance.state_reason = self._taken or instance.state_reason
        self._set(instance, "terminated")

    def container(self, name):
        """Return the container of an instance; None if there is none."""
        with self._lock:
            return self._containers.get(name)

    def managed(self, name):
        """Tell whether SSM's agent would run in an instance, and be let in."""
        container = self.container(name)
        if container is None or not self._profiles.get(name):
            return False
        with contextlib.suppress(docker.errors.APIError):
            container.reload()
            return container.status == "running"
        return False

    def reclaim(self):
        """Take away what runs, as spot capacity is, and have EC2 say so."""
        self._taken = StateReason(
            "Server.SpotInstanceTermination: Spot instance termination",
            "Server.SpotInstanceTermination",
        )
        self.kill()

    def kill(self):
        """End what runs, as a failing machine does."""
        for name in [*self._containers]:
            self._stop(name)

    def rest(self):
        """End what runs and wait until all is told."""
        self.kill()
        for thread in self._threads:
            thread.join(30)
        for container in self._containers.values():
            with contextlib.suppress(docker.errors.APIError):
                container.remove(force=True)
        self._threads.clear()
        self._containers.clear()
        self.boots = True
        self.refused = False
        self.busy = self._taken = None
