"""The kit's suite on AWS's places, behind the stand-in.

All of the suite judges the spool executor, in tests/conformance. A container is made
here for each call, so what differs from place to place is looked at: what the suite has
on jobs, and of values, errors and ends so much as shows that all ways are open. With
``ENTANGLE_TEST_WHOLE=1`` all of it runs on each place, which takes its time.
"""

import os

import pytest
from aws_sessions import install_plugin

from entangle.testing import ExecutorConformance, JobConformance, StreamConformance

pytestmark = [pytest.mark.integration, pytest.mark.process, pytest.mark.timeout(300)]
IMAGE = "entangle-test/python:3.11"
WHOLE = os.environ.get("ENTANGLE_TEST_WHOLE") == "1"

FARGATE = f"""
from entangle.aws import _account, _fargate
from entangle.backend import Pace

class Quick(_fargate.FargateExecutor):
    pace = Pace(0.1, 1.2, 1.0)
    name = "fargate"

executor = Quick(aws=_account.account(), ram="512MB", cpu=0.25, image={IMAGE!r})
"""

EC2 = """
from entangle.aws import _account, _ec2
from entangle.backend import Pace

class Quick(_ec2.Ec2Executor):
    pace = Pace(0.1, 1.2, 1.0)

executor = Quick(aws=_account.account())
executor.python = None  # as the stand-in's are not Amazon's
"""

CALLS = (
    "test_arguments_of_all_kinds",
    "test_cancel_tells_the_truth",
    "test_exceptions_arrive_as_themselves",
    "test_in_a_graph_beside_other_places",
    "test_instances_come_back_as_the_callers_class",
    "test_many_calls_at_once",
    "test_payloads_of_all_sizes",
    "test_the_death_of_a_worker",
    "test_timeouts_really_end_the_work",
)
JOBS = tuple(name for name in vars(JobConformance) if name.startswith("test_"))
# An instance has no log that could be followed.
SILENT = tuple(name for name in JOBS if "output_is_told" not in name)


def only(*names):
    """Have a class collected with some of the suite's tests alone, but when all run."""

    def choose(suite):
        known = {name for name in dir(suite) if name.startswith("test_")}
        assert known >= set(names), set(names) - known
        for name in () if WHOLE else known - set(names):
            setattr(suite, name, None)
        return suite

    return choose


@pytest.fixture
def folder(aws_server, tmp_path):
    """A folder that is in the containers, too."""
    for path in (tmp_path, *tmp_path.parents):
        if path.owner() == os.environ.get("USER", "root") and path.name.startswith(
            "pyt"
        ):
            path.chmod(0o755)
    tmp_path.chmod(0o777)
    aws_server.folder = tmp_path
    yield tmp_path
    aws_server.folder = None


@only(*JOBS, *CALLS)
class TestFargate(JobConformance):
    """One ECS task for each call."""

    patience = 90.0
    most_bytes = 5_000_000
    calls_at_once = 8
    lifetime = 8.0

    @pytest.fixture
    def client(self, aws_server, client, folder):
        client("ecs").create_cluster(clusterName="default")
        yield FARGATE
        aws_server.rest()

    @pytest.fixture
    def folder(self, folder):
        return folder


@only(*SILENT, *CALLS)
class TestEc2(JobConformance):
    """One instance for each call."""

    patience = 90.0
    most_bytes = 5_000_000
    calls_at_once = 8
    lifetime = 8.0

    @pytest.fixture
    def client(self, aws_server, folder):
        yield EC2
        aws_server.rest()

    @pytest.fixture
    def folder(self, folder):
        return folder


class TestEc2Stream(StreamConformance):
    """Instances that stay, over sessions of SSM."""

    patience = 60.0
    most_bytes = 5_000_000
    most_output = 5_000_000
    cuts = 4

    @pytest.fixture
    def executor(self, aws_server, client, folder, monkeypatch, tmp_path):
        from entangle.aws._account import account
        from entangle.aws._ec2_stream import Ec2StreamExecutor
        from entangle.backend import Pace

        iam = client("iam")
        if not iam.list_instance_profiles()["InstanceProfiles"]:
            iam.create_instance_profile(InstanceProfileName="entangle")
        path = tmp_path / "bin"
        path.mkdir()
        install_plugin(path)
        monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(Ec2StreamExecutor, "pace", Pace(0.1, 1.2, 1.0))
        with Ec2StreamExecutor(
            aws=account(), instance_profile="entangle", calls=4
        ) as executor:
            yield executor
        aws_server.rest()

    @pytest.fixture
    def folder(self, folder):
        return folder


@only(*CALLS)
class TestLambda(ExecutorConformance):
    """One invocation for each call."""

    patience = 90.0
    most_bytes = 5_000_000
    calls_at_once = 8

    @pytest.fixture
    def executor(self, aws_server, client, role, folder):
        from entangle.aws._account import account
        from entangle.aws._lambda import LambdaExecutor

        client("s3").create_bucket(Bucket="conformance")
        with LambdaExecutor(
            aws=account(), memory=256, timeout=60, bucket="conformance"
        ) as executor:
            yield executor
        aws_server.rest()

    @pytest.fixture
    def folder(self, folder):
        return folder
