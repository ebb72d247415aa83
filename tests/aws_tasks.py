"""Containers for ECS's tasks: what the service would run for a task definition."""

import contextlib
import inspect
import os
import threading

import docker.errors
import moto.ecs.models as ecs
from moto.ecs.responses import EC2ContainerServiceResponse


def _nothing(*_):
    pass


class Tasks:
    """Runs what is asked of ECS in containers, and tells moto how they are."""

    def __init__(self, stand_in):
        self._stand_in = stand_in
        self._containers = {}
        self._threads = []
        self.asked = []
        self._lock = threading.Lock()
        backend = ecs.EC2ContainerServiceBackend
        stand_in.replace(backend, "run_task", self._running)
        stand_in.replace(backend, "stop_task", self._stopping)
        # One request that does not ask for tags must not take them from another.
        stand_in.replace(
            EC2ContainerServiceResponse, "_exclude_from_response", lambda _: _nothing
        )

    def _running(self, before):
        def run_task(backend, *args, **options):
            for each in (*args, *options.values()):
                if isinstance(each, dict) and "awsvpcConfiguration" in each:
                    each["awsvpcConfiguration"].setdefault("securityGroups", [])
            names = inspect.signature(before).bind(backend, *args, **options).arguments
            self.asked.append(names)
            tasks = before(backend, *args, **options)
            for task in tasks:
                task.last_status = "PROVISIONING"
                thread = threading.Thread(target=self._run, args=(backend, task))
                thread.start()
                with self._lock:
                    self._threads.append(thread)
            return tasks

        return run_task

    def _stopping(self, before):
        def stop_task(backend, cluster, name, reason):
            known = backend.tasks.get(cluster.split("/")[-1], {})
            task = next((t for a, t in known.items() if a.endswith(name[-36:])), None)
            if task is None:
                raise ecs.InvalidParameterException(
                    "The referenced task was not found."
                )
            if task.last_status == "STOPPED":
                return task
            was = task.last_status
            stopped = before(backend, cluster, name, reason)
            stopped.stop_code = "UserInitiated"
            stopped.last_status = "DEACTIVATING" if was == "RUNNING" else was
            with self._lock:
                container = self._containers.get(task.id)
            if container is not None:
                threading.Thread(target=self._stop, args=(container,)).start()
            return stopped

        return stop_task

    def _stop(self, container):
        with contextlib.suppress(docker.errors.APIError):
            container.stop(timeout=3)

    def _run(self, backend, task):
        definition = backend.describe_task_definition(task.task_definition_arn)
        about = definition.container_definitions[0]
        told = next(
            (
                each
                for each in (task.overrides or {}).get("containerOverrides", [])
                if each["name"] == about["name"]
            ),
            {},
        )
        environment = {
            each["name"]: each["value"]
            for each in (about.get("environment") or [])
            + (told.get("environment") or [])
        }
        memory = f"{int(definition.memory or about.get('memory') or 512)}m"
        share = int(int(definition.cpu or 256) / 1024 * 1e9)
        engine = self._stand_in.engine
        task.last_status = "PENDING"
        options = (about.get("logConfiguration") or {}).get("options", {})
        if not self._stand_in.has_group(options.get("awslogs-group", "")):
            text = (
                "ResourceInitializationError: failed to validate logger args: create "
                "stream has been retried 1 times: failed to create Cloudwatch log "
                "stream: ResourceNotFoundException: The specified log group does not "
                "exist. : exit status 1"
            )
            self._ended(task, "TaskFailedToStart", text, None)
            return
        try:
            container = engine.containers.create(
                about["image"],
                told.get("command") or about.get("command") or None,
                entrypoint=about.get("entryPoint") or None,
                # The task has no credentials: addresses are all that it is given.
                environment=environment,
                network_mode="host",
                volumes=self._stand_in.shared(),
                mem_limit=memory,
                memswap_limit=memory,
                nano_cpus=min(share, (os.cpu_count() or 1) * 10**9),
                labels=self._stand_in.labels,
            )
        except docker.errors.ImageNotFound as error:
            text = f"CannotPullContainerError: {error.explanation}"
            self._ended(task, "TaskFailedToStart", text, None)
            return
        with self._lock:
            self._containers[task.id] = container
        try:
            container.start()
        except docker.errors.APIError as error:
            text = f"CannotStartContainerError: {error.explanation}"
            self._ended(task, "TaskFailedToStart", text, None)
            container.remove(force=True)
            return
        if task.last_status == "PENDING" and task.desired_status != "STOPPED":
            task.last_status = task.containers[0].last_status = "RUNNING"
        else:
            self._stop(container)
        self._follow(task, about, container)
        code = container.wait()["StatusCode"]
        container.reload()
        eaten = container.attrs["State"]["OOMKilled"]
        why = "Essential container in task exited"
        if eaten:
            why = "OutOfMemoryError: Container killed due to memory usage"
        container.remove(force=True)
        self._ended(task, "EssentialContainerExited", why, code)

    def _follow(self, task, about, container):
        """Bring a container's output into its stream while it runs, line by line."""
        options = (about.get("logConfiguration") or {}).get("options", {})
        if not options:
            return
        stream = f"{options['awslogs-stream-prefix']}/{about['name']}/{task.id}"
        group = options["awslogs-group"]
        self._stand_in.log(group, stream, [])
        begun = b""
        for data in container.logs(stream=True, follow=True):
            *lines, begun = (begun + data).split(b"\n")
            self._stand_in.log(group, stream, lines)
        self._stand_in.log(group, stream, [begun])

    def _ended(self, task, code, why, exit_code):
        container = task.containers[0]
        container.exit_code = container.exitCode = exit_code
        container.reason = why
        task.stopped_reason = task.stopped_reason or why
        task.stop_code = getattr(task, "stop_code", None) or code
        container.last_status = task.desired_status = "STOPPED"
        task.last_status = "STOPPED"

    def running(self):
        """Return the containers that run."""
        with self._lock:
            return [t for t in self._threads if t.is_alive()]

    def kill(self):
        """Take away what runs, as spot capacity is."""
        with self._lock:
            containers = list(self._containers.values())
        for container in containers:
            with contextlib.suppress(docker.errors.APIError):
                container.kill()

    def rest(self):
        """End what runs and wait until all is told."""
        self.kill()
        for thread in self._threads:
            thread.join(30)
        self._threads.clear()
        self._containers.clear()
