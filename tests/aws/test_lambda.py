"""Tasks on Lambda, really executed in containers behind the stand-in."""

import asyncio
import io
import os
import subprocess
import sys
import threading
import time
import zipfile

import pytest

from entangle._cli.main import main
from entangle.aws import AwsError, RemoteFunctionError, aws, lmbda
from entangle.errors import (
    CompositionError,
    JobLostError,
    OptionError,
    ProcessTerminatedException,
    ProcessTimeoutException,
    UnmetCapabilityError,
    UnpicklableError,
    UntrustedResultError,
)
from entangle.process import process
from entangle.run import budget, observe
from entangle.task import gather

pytestmark = [
    pytest.mark.integration,
    pytest.mark.process,
    pytest.mark.usefixtures("aws_server"),
]

HANDLERS = """
import os, sys, time, json

def echo(event, context):
    print("got", json.dumps(event))
    return {"event": event}

def fail(event, context):
    print("about to fail")
    raise LookupError("no such thing", 7)

def sleep(event, context):
    time.sleep(60)

def leave(event, context):
    os._exit(3)

def eat(event, context):
    data = []
    while True:
        data.append(bytearray(os.urandom(1 << 20)) * 16)

def large(event, context):
    return "x" * (6 * 1024 * 1024 + 1)

def chatty(event, context):
    for _ in range(1000):
        print("y" * 10_000)
    print("the end")
    return 1

def count(event, context):
    return sum(event)
"""


@pytest.fixture(autouse=True)
def _role(role):
    pass


@pytest.fixture
def function(client):
    """Make a function of AWS's own kind: a zip with a handler."""
    made = []
    lambdas = client("lambda")
    arn = client("iam").get_role(RoleName="entangle-lambda")["Role"]["Arn"]

    def make(handler, memory=128, timeout=3):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as code:
            code.writestr("handlers.py", HANDLERS)
        name = f"there-{handler}-{len(made)}"
        lambdas.create_function(
            FunctionName=name,
            Runtime="python3.11",
            Role=arn,
            Handler=f"handlers.{handler}",
            Code={"ZipFile": file.getvalue()},
            MemorySize=memory,
            Timeout=timeout,
        )
        made.append(name)
        return name

    yield make
    for name in made:
        lambdas.delete_function(FunctionName=name)


@pytest.fixture
def bucket(client):
    client("s3").create_bucket(Bucket="values")
    yield "values"
    s3 = client("s3")
    for found in s3.list_objects_v2(Bucket="values").get("Contents", ()):
        s3.delete_object(Bucket="values", Key=found["Key"])
    s3.delete_bucket(Bucket="values")


# -- functions that are there ----------------------------------------------------------


def proxy(name, **options):
    @lmbda(function=name, **options)
    @aws(keys=[])
    def called():
        raise AssertionError("its body is not the work")

    return called


def test_arguments_and_values_are_json(function):
    echo = proxy(function("echo"))
    assert echo(1, 2, 3)() == {"event": [1, 2, 3]}
    assert echo(name="x", n=None)() == {"event": {"name": "x", "n": None}}
    assert echo({"as": "it is"})() == {"event": {"as": "it is"}}
    assert echo()() == {"event": []}


def test_in_a_graph(function):
    """Beside local tasks, whose values it gets."""

    @process
    def two():
        return 2

    @process
    def double(number):
        return 2 * number

    assert double(proxy(function("count"))(1, two(), 3))() == 12


def test_both_kinds_of_arguments_are_refused(function):
    echo = proxy(function("echo"))
    with pytest.raises(TypeError, match="by position or by name"):
        echo(1, name=2)()


@pytest.mark.parametrize("value", [object(), b"bytes", float("nan"), {1, 2}])
def test_arguments_that_are_no_json(function, value):
    with pytest.raises(UnpicklableError, match="no JSON"):
        proxy(function("echo"))(value)()


def test_an_error_of_the_functions_own(function):
    with pytest.raises(RemoteFunctionError) as caught:
        proxy(function("fail"))()()
    error = caught.value
    assert (error.type_name, error.message) == ("LookupError", "('no such thing', 7)")
    assert any("raise LookupError" in line for line in error.stack)
    assert "about to fail" in error.log
    assert any("about to fail" in note for note in error.__notes__)


def test_what_a_function_prints_stays_in_its_log(function, capfd):
    assert proxy(function("chatty", timeout=30))()() == 1
    assert "yyy" not in capfd.readouterr().out


def test_a_function_that_takes_too_long(function):
    with pytest.raises(ProcessTimeoutException) as caught:
        proxy(function("sleep", timeout=1))()()
    assert (caught.value.phase, caught.value.seconds) == ("body", 1.0)


def test_a_function_that_leaves(function):
    with pytest.raises(ProcessTerminatedException, match="exit status 3"):
        proxy(function("leave"))()()


def test_a_function_that_runs_out_of_memory(function):
    with pytest.raises(ProcessTerminatedException) as caught:
        proxy(function("eat", timeout=60))()()
    assert caught.value.out_of_memory


def test_an_answer_that_is_too_large(function):
    with pytest.raises(RemoteFunctionError, match="ResponseSizeTooLarge"):
        proxy(function("large", memory=512, timeout=30))()()


def test_arguments_that_are_too_large(function):
    with pytest.raises(AwsError, match="put them into S3"):
        proxy(function("echo"))("x" * (6 * 1024 * 1024 + 1))()


def test_a_function_that_is_not_there():
    with pytest.raises(AwsError) as caught:
        proxy("nowhere")(1)()
    assert (caught.value.code, caught.value.resource) == (
        "ResourceNotFoundException",
        "nowhere",
    )


def test_not_waiting_for_the_answer(function, client):
    name = function("echo")
    request = proxy(name, invocation="forget")(5)()
    assert request


def test_calls_of_an_asyncio_program(function):
    """Values, and errors with what was logged."""
    echo, fail = proxy(function("echo")), proxy(function("fail"))

    async def main():
        values = await asyncio.gather(*[echo(number) for number in range(3)])
        with pytest.raises(RemoteFunctionError) as caught:
            await fail()
        return values, caught.value.log

    values, log = asyncio.run(main())
    assert values == [{"event": number} for number in range(3)]
    assert "about to fail" in log


def test_a_place_that_is_the_work_can_not_be_replaced(function, monkeypatch):
    monkeypatch.setenv("ENTANGLE_TARGETS", "lmbda=local")
    with pytest.raises(CompositionError):
        proxy("x")(1)()


# -- tasks that are shipped ------------------------------------------------------------


def shipped(**options):
    def decorate(function):
        return aws(keys=[])(lmbda(memory=256, **options)(function))

    return decorate


def test_a_task_is_shipped(capfd):
    factor = 2

    @shipped()
    def scaled(number):
        print("scaling", number)
        print("to stderr", file=sys.stderr)
        return factor * number, os.environ["AWS_LAMBDA_FUNCTION_NAME"], os.getuid()

    value, name, user = scaled(21)()
    assert value == 42
    assert name.startswith("entangle-py311-256-")
    assert user == 65534
    out, err = capfd.readouterr()
    assert out == "scaling 21\n"
    assert "to stderr\n" in err


def test_a_function_is_made_once(client):
    """Also when many calls come at once, and again in another program."""

    @shipped()
    def where():
        return os.environ["AWS_LAMBDA_FUNCTION_NAME"]

    names = gather(*[where() for _ in range(10)])()
    assert len(set(names)) == 1
    found = client("lambda").list_functions()["Functions"]
    ours = [each for each in found if each["FunctionName"] == names[0]]
    assert len(ours) == 1
    assert ours[0]["MemorySize"] == 256
    tags = client("lambda").list_tags(Resource=ours[0]["FunctionArn"])["Tags"]
    assert "entangle-function" in tags


def test_a_sandbox_is_used_again():
    @shipped()
    def where():
        return os.uname().nodename, time.time()

    assert where()()[1] < where()()[1]


def test_errors_arrive_as_themselves():
    @shipped()
    def fail():
        raise KeyError("first", 2)

    with pytest.raises(KeyError) as caught:
        fail()()
    assert caught.value.args == ("first", 2)


def test_a_body_that_leaves():
    @shipped()
    def leave():
        os._exit(3)

    with pytest.raises(JobLostError, match="exit status 3") as caught:
        leave()()
    assert caught.value.resource.startswith("entangle-py311")


def test_a_body_that_takes_too_long():
    @shipped(timeout=1)
    def slow():
        time.sleep(60)

    with pytest.raises(ProcessTimeoutException) as caught:
        slow()()
    assert caught.value.seconds == 1.0


def test_a_body_that_runs_out_of_memory():
    @shipped(timeout=60)
    def eat():
        data = []
        while True:
            data.append(bytearray(os.urandom(1 << 20)) * 16)

    with pytest.raises(ProcessTerminatedException) as caught:
        eat()()
    assert caught.value.out_of_memory


def test_a_value_that_is_too_large():
    @shipped()
    def large():
        return bytes(6 * 1024 * 1024 + 1)

    with pytest.raises(AwsError, match=r"lmbda\(bucket="):
        large()()


def test_large_values_go_by_a_bucket(bucket, client):
    @shipped(bucket=bucket)
    def same(data):
        return data

    data = os.urandom(1 << 20) * 8
    assert same(data)() == data
    from entangle.task import shutdown

    shutdown()
    assert "Contents" not in client("s3").list_objects_v2(Bucket=bucket)


def test_a_call_that_is_too_large_without_a_bucket():
    @shipped()
    def size(data):
        return len(data)

    with pytest.raises(Exception, match="name one that both sides reach"):
        size(bytes(6 << 20))()


def test_much_output(capfd):
    @shipped(timeout=60)
    def chatty():
        for _ in range(1000):
            print("y" * 10_000)
        return 1

    assert chatty()() == 1
    out, err = capfd.readouterr()
    assert len(out) == 256 << 10 or len(out) == (256 << 10) + 1
    assert "bytes of output are left out here" in err


def test_packages_are_built_in(tmp_path, client):
    """Installed for the function's Python and processor, whatever this machine has."""

    @shipped(packages=["six==1.17.0"])
    def version():
        import six

        return six.__version__, six.__file__

    found, path = version()()
    assert found == "1.17.0"
    assert path.startswith("/var/task/")


def test_packages_that_are_not_there():
    @shipped(packages=["no-such-package-as-this==1"])
    def version():
        return 1

    with pytest.raises(AwsError, match="pip can't install no-such-package-as-this==1"):
        version()()


def test_no_keys_in_what_travels(client, caplog, tmp_path):
    """What @aws is told stays in this process: no payload, event, log or trace has it."""
    # Not as it stands in this file, which may travel with the function.
    identity, secret = "AKIA" + 3 * "IOSF", "wJalr" + 4 * "XUtn"
    seen = []
    decorated = aws(keys=[identity, secret])(
        lmbda(memory=256)(lambda: sorted(os.environ.items()))
    )
    from entangle.aws import _lambda

    create = _lambda.LambdaExecutor.create

    def spy(self, job):
        seen.append(repr(job))
        return create(self, job)

    _lambda.LambdaExecutor.create, before = spy, create
    try:
        trace, log = tmp_path / "trace.json", tmp_path / "runs"
        with observe(lambda event: seen.append(repr(event))):
            text = repr(decorated().run(trace=trace, log=log))
    finally:
        _lambda.LambdaExecutor.create = before
    shown = "".join(
        [text, *seen, caplog.text, repr(decorated), str(decorated().plan())]
    )
    written = [trace, *(path for path in log.rglob("*") if path.is_file())]
    assert len(written) > 1
    shown += "".join(path.read_bytes().decode(errors="replace") for path in written)
    assert seen
    assert secret not in shown
    assert identity not in shown


def test_a_task_that_carries_keys_is_not_shipped():
    @aws(keys=["AKIAIOSFODNN7EXAMPLE", "the-secret-that-must-stay"])
    @lmbda(memory=256)
    def inner():
        return 1

    @aws(keys=["AKIAIOSFODNN7EXAMPLE", "the-secret-that-must-stay"])
    @lmbda(memory=256)
    def outer():
        return inner()

    with pytest.raises(UnpicklableError, match="credentials"):
        outer()()


def test_a_poisoned_answer(monkeypatch):
    from entangle.aws import _lambda

    monkeypatch.setattr(
        _lambda.base64, "b64decode", lambda _: b"cos\nsystem\n(S'x'\ntR."
    )

    @shipped()
    def one():
        return 1

    with pytest.raises(UntrustedResultError):
        one()()


def test_what_it_can_not_honour_is_refused():
    for option in ({"timeout": 5}, {"cwd": "/"}, {"fresh": True}):
        with pytest.raises(UnmetCapabilityError):
            process(**option)(lmbda(memory=256)(abs))


@pytest.mark.parametrize(
    "options",
    [
        {"memory": 64},
        {"timeout": 901},
        {"architecture": "sparc"},
        {"python": "2.7"},
        {"storage": 1},
        {"function": ""},
        {"function": "x", "invocation": "later"},
        {"memory": "much"},
        {"memry": 256},
    ],
)
def test_options_are_checked_where_they_are_written(options):
    with pytest.raises(OptionError):
        lmbda(**options)


def test_a_role_that_is_not_there():
    with pytest.raises(AwsError, match="AWSLambdaBasicExecutionRole") as caught:
        shipped(execution_role="nobody")(lambda: 1)()()
    assert caught.value.resource == "role nobody"


def test_no_credentials(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(AwsError, match="there are no credentials"):
        shipped()(lambda: 1)()()


def test_a_plan_has_a_price_and_a_budget_keeps_to_it():
    @shipped()
    def one():
        return 1

    (entry,) = one().plan().tasks
    assert entry.price.second == pytest.approx(0.0000166667 / 4)
    assert "list prices of us-east-1" in entry.price
    with budget(usd=10) as spent:
        assert one()() == 1
    assert 0 < spent.usd < 0.01


def test_a_client_that_is_killed_leaves_nothing(aws_server, client):
    """An invocation ends by itself, and leaves nothing behind."""
    program = """
import sys, time
from entangle.aws import aws, lmbda

@aws(keys=[])
@lmbda(memory=256, timeout=5)
def wait():
    import time
    time.sleep(60)

print("begun", flush=True)
wait()()
"""
    before = client("s3").list_buckets()["Buckets"]
    with subprocess.Popen([sys.executable, "-c", program], stdout=-1) as caller:
        assert caller.stdout.readline() == b"begun\n"
        patience = time.monotonic() + 120
        while not aws_server.containers() and time.monotonic() < patience:
            threading.Event().wait(0.05)
        caller.kill()
    patience = time.monotonic() + 120
    while aws_server.containers() and time.monotonic() < patience:
        threading.Event().wait(0.05)
    assert not aws_server.containers()
    assert client("s3").list_buckets()["Buckets"] == before


def test_objects_of_a_client_that_is_killed_are_swept(aws_server, client, bucket):
    """Its call went by a bucket, and its answer comes when nobody waits for it."""
    program = f"""
from entangle.aws import aws, lmbda

@aws(keys=[])
@lmbda(memory=256, timeout=30, bucket={bucket!r})
def wait(data):
    import time
    time.sleep(3)
    return data

wait(bytes(6 << 20))()
"""

    def keys():
        found = client("s3").list_objects_v2(Bucket=bucket).get("Contents", ())
        return [each["Key"] for each in found]

    def until(condition):
        patience = time.monotonic() + 100
        while not condition():
            assert time.monotonic() < patience, keys()
            threading.Event().wait(0.05)

    with subprocess.Popen([sys.executable, "-c", program]) as caller:
        until(lambda: any(key.endswith(".call") for key in keys()))
        until(aws_server.containers)
        caller.kill()
    assert main(["sweep", "aws"]) == 0
    until(lambda: not aws_server.running())
    # What came after that is found by the next.
    assert main(["sweep", "aws"]) == 0
    assert not keys()
