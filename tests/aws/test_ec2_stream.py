"""Tasks on EC2's kept instances: sessions of SSM really carried into containers."""

import ast
import base64
import os
import shlex
import signal
import socket
import subprocess
import sys

import pytest
from aws_sessions import install_plugin
from docker_kit import image_or_skip
from life_kit import until
from moto.ec2.exceptions import EC2ClientError

from entangle.aws import AwsError, _doctor, _ec2_session, _sweeping, aws, ec2
from entangle.aws._ec2_stream import Ec2StreamExecutor
from entangle.backend import Pace
from entangle.errors import PlaceBusyError, ProcessTerminatedException
from entangle.process import process
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


def test_an_instance_is_used_again(aws_server, capfd, instances):
    """By all calls and runs, with what they print at once; then it is terminated."""

    @aws(keys=[])
    @ec2(instance_profile="entangle")
    def where(number):
        print("here is", number)
        return number, socket.gethostname()

    first, name = where(1)()
    assert first == 1
    assert name != socket.gethostname()
    # More than one, if its Python was not there yet when SSM's agent was.
    begun = len(aws_server.sessions.started)
    assert {place for _, place in gather(*map(where, range(8)))()} == {name}
    other = aws(keys=[])(ec2(instance_profile="entangle")(socket.gethostname))
    assert other()() == name
    assert capfd.readouterr().out.count("here is") == 9
    assert instances.states() == ["running"]
    assert len(aws_server.sessions.started) == begun
    shutdown()
    assert instances.states() == ["terminated"]


def kept(**options):
    """Return the decorator, for instances that are looked for often."""
    return ec2(instance_profile="entangle", **options)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(Ec2StreamExecutor, "pace", Pace(0.05, 1.2, 0.5))


@pytest.fixture
def folder(aws_server, tmp_path):
    """A folder that is in the instances, too."""
    aws_server.folder = tmp_path
    yield tmp_path
    aws_server.folder = None


@pytest.fixture
def begun(folder):
    """A task's argument that says that it has begun, and how to wait for that."""
    path = folder / "begun"
    return str(path), lambda: until(path.exists, 120)


def dozing(**options):
    """Return a task that travels by value: this module needs more than is there."""

    @kept(**options)
    def doze(path):
        import pathlib
        import time

        pathlib.Path(path).touch()
        time.sleep(600)

    return doze


# -- what it is -------------------------------------------------------------------------


def test_a_python_that_comes_later_than_the_agent(
    aws_server, folder, monkeypatch, instances
):
    """It is asked for again, in the same instance."""
    held = folder / "held"
    held.touch()
    work = _ec2_session.Key.work
    wait = f"while [ -e {shlex.quote(str(held))} ]; do sleep 0.05; done\n"
    monkeypatch.setattr(_ec2_session.Key, "work", lambda *given: wait + work(*given))
    value = kept()(os.getpid)().submit()
    # The second comes when the first was refused.
    until(lambda: len(aws_server.sessions.started) > 1, 120)
    held.unlink()
    assert value.result() > 0
    assert instances.states() == ["running"]
    shutdown()
    assert instances.states() == ["terminated"]


def test_what_is_asked_of_ec2(client, instances, proxy):
    """Nothing comes in; it ends itself; it is known whose it is; nobody takes its role."""
    assert kept(spot=True, disk=20, instance_type="t3.micro")(abs)(-1)() == 1
    (asked,) = [each.form for each in proxy.asked if each.operation == "RunInstances"]
    market, disk = "InstanceMarketOptions.", "BlockDeviceMapping.1."
    spot = f"{market}SpotOptions."
    expected = {
        f"{market}MarketType": "spot",
        f"{spot}SpotInstanceType": "one-time",
        f"{spot}InstanceInterruptionBehavior": "terminate",
        f"{disk}Ebs.VolumeSize": "20",
        f"{disk}Ebs.DeleteOnTermination": "true",
        "MetadataOptions.HttpTokens": "required",
        "IamInstanceProfile.Name": "entangle",
    }
    assert {name: asked.get(name) for name in expected} == expected
    assert asked[f"{disk}DeviceName"].startswith("/dev/")
    (instance,) = instances()
    assert instance["InstanceType"] == "t3.micro"
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    assert {"entangle-owner", "entangle-expires", "entangle-task"} <= set(tags)
    (group,) = instance["SecurityGroups"]
    rules = client("ec2").describe_security_groups(GroupIds=[group["GroupId"]])
    assert rules["SecurityGroups"][0]["IpPermissions"] == []
    name = instance["InstanceId"]

    def attribute(which):
        return client("ec2").describe_instance_attribute(
            InstanceId=name, Attribute=which
        )

    behaviour = attribute("instanceInitiatedShutdownBehavior")
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    data = base64.b64decode(attribute("userData")["UserData"]["Value"])
    assert len(data) < 16_384
    assert b"shutdown -P +360\n" in data


def test_fresh_instances(instances):
    """Each call has one, which is gone then."""
    where = kept(fresh=True, instances=2)(socket.gethostname)
    assert len(set(gather(*[where() for _ in range(3)])())) == 3
    until(lambda: instances.states() == ["terminated"] * 3, 60)


def test_an_idle_instance_is_terminated(instances):
    assert kept(idle=0.2)(abs)(-1)() == 1
    until(lambda: instances.states() == ["terminated"], 60)


def test_a_plugin_that_is_older_gets_the_token_as_an_argument(plugin):
    install_plugin(plugin.parent, "1.2.463.0")
    assert kept()(abs)(-1)() == 1


def test_a_python_of_another_version(aws_server, monkeypatch):
    """As Amazon Linux's is; functions go there by source."""
    image = image_or_skip(aws_server.engine, "python:3.9")
    monkeypatch.setattr(aws_server, "image", image)

    @kept()
    def version(number):
        import sys

        return number, sys.version_info[:2]

    assert version(1)() == (1, (3, 9))


# -- whose it is ------------------------------------------------------------------------


def test_keys_are_given_to_the_plugin_and_to_nobody_else(plugin, tmp_path):
    """In its environment, not among its arguments; a call that holds them is refused."""
    seen = tmp_path / "seen"
    plugin.write_text(
        plugin.read_text().replace(
            "import json",
            "import json, os, sys; open("
            f"{str(seen)!r}, 'a').write(repr((sys.argv[1:], dict(os.environ))) + '\\n')",
        )
    )
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

    @aws(keys=["AKIAIOSFODNN7EXAMPLE", secret])
    @kept()
    def tell(text):
        return len(text)

    assert tell("abc")() == 3
    arguments, variables = ast.literal_eval(seen.read_text().splitlines()[-1])
    assert variables["AWS_SECRET_ACCESS_KEY"] == secret
    assert secret not in str(arguments)
    with pytest.raises(ProcessTerminatedException, match="holds the keys of @aws"):
        tell(secret)()


def test_the_doctor_looks_for_the_plugin(plugin):
    def said(subject="aws ec2"):
        return [each.text for each in _doctor.findings() if each.subject == subject]

    assert "session-manager-plugin 1.2.707.0" in said()
    assert "ssm:StartSession is allowed" in said("aws ec2 ssm")
    plugin.write_text("no program")
    _ec2_session.version.cache_clear()
    assert "can't be run" in said()[1]
    plugin.unlink()
    assert "each call gets an instance of its own" in said()[1]


# -- what goes wrong ------------------------------------------------------------------


def test_without_the_plugin(plugin, instances):
    plugin.unlink()
    with pytest.raises(AwsError, match="session-manager-plugin is not on the PATH"):
        ec2(via="ssm")(abs)(-1)()
    assert instances.states() == []


@pytest.mark.parametrize("boots", [True, False])
def test_an_instance_that_is_never_reached(aws_server, monkeypatch, boots, instances):
    """Whether it does not boot, or SSM's agent does not come: it is named, and ended."""
    monkeypatch.setattr("entangle.aws._ec2_stream._BOOT", 1.0)
    aws_server.sessions.registers = False
    aws_server.instances.boots = boots
    with pytest.raises(AwsError, match="not registered with SSM") as caught:
        kept()(abs)(-1)()
    assert caught.value.resource == instances()[0]["InstanceId"]
    assert "AmazonSSMManagedInstanceCore" in str(caught.value)
    until(lambda: instances.states() == ["terminated"], 60)


@pytest.mark.parametrize(
    ("image", "python"), [("python:3.11", "python9"), ("python:3.8", "python3")]
)
def test_an_image_without_a_python(aws_server, monkeypatch, image, python, instances):
    """Of an age that will do: what its console says is told."""
    image = image_or_skip(aws_server.engine, image)
    monkeypatch.setattr(aws_server, "image", image)
    with pytest.raises(AwsError, match="ended before it was reached") as caught:
        kept(python=python)(abs)(-1)()
    said = f"entangle: this image has no {python}, or one older than 3.9"
    assert said in str(caught.value)
    assert instances.states() == ["terminated"]


@pytest.mark.parametrize("code", ["VcpuLimitExceeded", "InsufficientInstanceCapacity"])
def test_a_quota_that_is_used_up(aws_server, code):
    aws_server.instances.busy = EC2ClientError(code, "You have requested more.")
    with pytest.raises(PlaceBusyError, match=f"t3.small for .*{code}"):
        kept()(abs)(-1)()
    aws_server.instances.busy = None
    assert kept()(abs)(-1)() == 1


def test_an_instance_that_is_taken_away(aws_server, begun, instances):
    """Its call fails with what EC2 says; the next gets another."""
    path, wait = begun
    future = dozing(spot=True)(path).submit()
    wait()
    aws_server.instances.reclaim()
    with pytest.raises(ProcessTerminatedException) as caught:
        future.result(120)
    assert instances()[0]["InstanceId"] in str(caught.value)
    assert "session" in str(caught.value) or "Spot" in str(caught.value)
    assert kept(spot=True)(abs)(-1)() == 1
    assert sorted(instances.states()) == ["running", "terminated"]


def test_a_retry_gets_another_instance(aws_server, folder, instances):
    def once(path):
        import os
        import pathlib
        import time

        if not pathlib.Path(path).exists():
            pathlib.Path(path).write_text(str(os.getpid()))
            time.sleep(600)
        return "again"

    path = folder / "begun"
    future = process(retry=1)(kept()(once))(str(path)).submit()
    until(path.exists, 120)
    aws_server.instances.kill()
    assert future.result(120) == "again"
    assert len(instances()) == 2


def test_a_session_that_is_ended(aws_server, begun, instances):
    path, wait = begun
    future = dozing()(path).submit()
    wait()
    aws_server.sessions.cut()
    with pytest.raises(ProcessTerminatedException, match="Exiting session"):
        future.result(120)
    until(lambda: instances.states() == ["terminated"], 60)


def test_an_instance_that_loses_its_network(aws_server, begun, monkeypatch, instances):
    monkeypatch.setattr("entangle.aws._ec2_session._SILENCE", 1.5)
    monkeypatch.setattr("entangle.aws._ec2_session._GONE", 2.0)
    path, wait = begun
    future = dozing()(path).submit()
    wait()
    aws_server.sessions.frozen.set()
    with pytest.raises(ProcessTerminatedException, match="has lost its network"):
        future.result(120)
    until(lambda: instances.states() == ["terminated"], 60)


def test_the_end_of_its_lifetime(begun, instances):
    path, wait = begun
    future = dozing(lifetime=6.0)(path).submit()
    wait()
    with pytest.raises(ProcessTerminatedException):
        future.result(120)
    until(lambda: instances.states() == ["terminated"], 60)


def test_a_call_that_is_cancelled_while_its_instance_boots(aws_server, instances):
    """Nobody waits for it: it is terminated at once."""
    aws_server.sessions.registers = False
    future = kept()(abs)(-1).submit()
    until(lambda: instances.states(), 60)
    assert future.cancel()
    until(lambda: instances.states() == ["terminated"], 60)


# -- clients that are killed ------------------------------------------------------------

CLIENT = """
import os, signal, sys
from entangle.aws import ec2, _ec2_session, _ec2_stream
from entangle.backend import Pace

_ec2_session._GONE = float(sys.argv[2])
_ec2_stream.Ec2StreamExecutor.pace = Pace(0.05, 1.2, 0.5)
step, path = sys.argv[1], sys.argv[3]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def after(owner, name):
    before = getattr(owner, name)
    def doing(*args, **options):
        before(*args, **options)
        die()
    setattr(owner, name, doing)

if step == "launched":
    after(_ec2_stream.Machines, "launch")
elif step == "booting":
    _ec2_stream.Ec2StreamExecutor._lacking = die
elif step == "connecting":
    _ec2_session.Connection.greet = die
elif step == "connected":
    after(_ec2_session.Connection, "greet")
elif step == "ending":
    _ec2_stream.Machines.end = die

def body(path):
    import pathlib, time
    pathlib.Path(path).touch()
    time.sleep(600)

task = ec2(instance_profile="entangle")(body if step == "running" else abs)
if step == "running":
    future = task(path).submit()
    while not os.path.exists(path):
        signal.sigtimedwait([], 0.01)
    die()
assert task(-1)() == 1
if step == "idle":
    die()
from entangle.task import shutdown
shutdown()
"""


def killed(step, folder, gone=600.0):
    command = [sys.executable, "-c", CLIENT, step, str(gone), str(folder / "begun")]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, timeout=120)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "step",
    ["launched", "booting", "connecting", "connected", "running", "idle", "ending"],
)
def test_a_client_that_is_killed_and_a_sweep(folder, step, instances):
    """Nothing that costs is left, whatever it was doing."""
    killed(step, folder)
    assert len(instances.left()) == 1
    for leftover in _sweeping.leftovers(0.0):
        leftover.remove()
    until(lambda: not instances.left(), 60)


def test_an_instance_ends_without_its_client(folder, instances):
    """Though nobody sweeps, and SSM has not noticed."""
    killed("running", folder, gone=2.0)
    until(lambda: not instances.left(), 60)


def test_an_instance_ends_whose_client_never_comes(folder, monkeypatch, instances):
    monkeypatch.setenv("PYTHONPATH", str(folder))
    (folder / "sitecustomize.py").write_text(
        "import entangle.aws._ec2_stream as s\ns._BOOT = 2.0\n"
    )
    killed("launched", folder)
    until(lambda: not instances.left(), 60)
