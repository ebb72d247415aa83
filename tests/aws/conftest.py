"""A stand-in for AWS for the tests of a module, and an account in it."""

import logging
import os
import socket
import urllib.request

import boto3
import pytest
from aws_proxy import Proxy
from aws_server import REGION, StandIn, environment
from docker_kit import engine_or_skip, image_or_skip
from moto.server import ThreadedMotoServer

from entangle.task import shutdown


def _engine_answers():
    """Look before the SDK does, which leaves its socket open where nobody answers."""
    where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not where.startswith("unix://"):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(where.removeprefix("unix://"))
        except OSError as error:
            pytest.skip(f"no Docker Engine can be reached: {error}")


@pytest.fixture(scope="module")
def aws_server():
    _engine_answers()
    engine = engine_or_skip()
    image = image_or_skip(engine, "python:3.11")
    server = StandIn(engine, image)
    yield server
    server.close()
    engine.close()


class Books:
    """The stand-in's books alone: it notes what it is asked to run, and runs nothing."""

    def __init__(self):
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self.url = "http://{}:{}".format(*self._server.get_host_and_port())
        # What moto knows is the process's, and is still there from another module.
        self.rest()

    def environment(self):
        return environment(self.url)

    def rest(self):
        urllib.request.urlopen(f"{self.url}/moto-api/reset", b"", timeout=60).close()

    def close(self):
        self._server.stop()


def stand_in(request):
    """Return which one the test has: the books where it says so, else all of it."""
    return "books" if "books" in request.fixturenames else "aws_server"


@pytest.fixture(scope="module")
def books():
    made = Books()
    yield made
    made.close()


@pytest.fixture
def proxy(request):
    """A proxy in front of the stand-in of the test's module."""
    made = Proxy(request.getfixturevalue(stand_in(request)).url)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def account(request, monkeypatch):
    """Credentials, a region and an address, as the environment gives them to boto3."""
    if {"aws_server", "books", "client", "proxy"}.intersection(request.fixturenames):
        server = request.getfixturevalue(stand_in(request))
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        if "proxy" in request.fixturenames:
            url = request.getfixturevalue("proxy").url
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        monkeypatch.setattr("entangle.aws._sdk._sessions", {})
        # The stand-in's instances have another Python than Amazon's.
        monkeypatch.setattr("entangle.aws._versions.AMAZON_LINUX", None)
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        yield REGION
        shutdown()
        server.rest()
    else:
        yield REGION


@pytest.fixture
def client(request):
    """Clients of the test's own, past the proxy."""
    server = request.getfixturevalue(stand_in(request))
    made = []

    def make(service):
        found = boto3.client(service, region_name=REGION, endpoint_url=server.url)
        made.append(found)
        return found

    yield make
    for each in made:
        each.close()


@pytest.fixture
def role(client):
    """The role that functions run in."""
    iam = client("iam")
    try:
        iam.get_role(RoleName="entangle-lambda")
    except iam.exceptions.NoSuchEntityException:
        iam.create_role(RoleName="entangle-lambda", AssumeRolePolicyDocument="{}")


@pytest.fixture
def instances(client):
    """The instances of EC2 that this test has started: others have had theirs."""
    return Started(client("ec2"))


class Started:
    """What EC2 knows of instances that were not there before."""

    def __init__(self, ec2):
        self._ec2 = ec2
        self._older = set()
        self._older = {each["InstanceId"] for each in self()}

    def __call__(self):
        pages = self._ec2.get_paginator("describe_instances").paginate()
        found = [each for page in pages for each in page["Reservations"]]
        several = [each for one in found for each in one["Instances"]]
        return [each for each in several if each["InstanceId"] not in self._older]

    def states(self):
        return [each["State"]["Name"] for each in self()]

    def left(self):
        return [state for state in self.states() if state != "terminated"]
