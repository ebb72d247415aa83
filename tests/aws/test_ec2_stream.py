"""Tasks on EC2's kept instances: sessions of SSM really carried into containers."""

import os
import socket

import pytest
from aws_sessions import install_plugin

from entangle.aws import aws, ec2
from entangle.task import gather, shutdown

pytestmark = [pytest.mark.integration, pytest.mark.process]


@pytest.fixture(autouse=True)
def _profile(aws_server, client):
    """An instance profile that lets SSM's agent in."""
    iam = client("iam")
    names = [each["InstanceProfileName"] for each in profiles(iam)]
    if "entangle" not in names:
        iam.create_instance_profile(InstanceProfileName="entangle")


@pytest.fixture(autouse=True)
def plugin(tmp_path, monkeypatch):
    """AWS's plugin on the PATH, or what stands for it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return install_plugin(folder)


def profiles(iam):
    return iam.list_instance_profiles()["InstanceProfiles"]


def instances(client):
    found = client("ec2").describe_instances()["Reservations"]
    return [each for one in found for each in one["Instances"]]


def states(client):
    return [each["State"]["Name"] for each in instances(client)]


def test_an_instance_is_used_again(aws_server, client, capfd):
    """By all calls and runs, with what they print at once; then it is terminated."""

    @aws(keys=[])
    @ec2(instance_profile="entangle")
    def where(number):
        print("here is", number)
        return number, socket.gethostname()

    first, name = where(1)()
    assert first == 1
    assert name != socket.gethostname()
    assert {place for _, place in gather(*map(where, range(8)))()} == {name}
    assert capfd.readouterr().out.count("here is") == 9
    assert states(client) == ["running"]
    assert len(aws_server.sessions.started) == 1
    shutdown()
    assert states(client) == ["terminated"]
