"""Concurrency that programs reserve, and give back: against the books alone."""

import re
import time

import pytest

from entangle._jobs.owner import Owner
from entangle.aws import AwsError, _reserved, _sweeping
from entangle.aws._account import account
from entangle.aws._lambda import LambdaExecutor

pytestmark = pytest.mark.usefixtures("books", "role")


@pytest.fixture
def program():
    """Make executors, as programs of their own would have them."""
    made = []

    def make(**options):
        made.append(LambdaExecutor(aws=account(), memory=256, **options))
        made[-1]._runtime.ready()
        return made[-1]

    yield make
    for each in made:
        each.shutdown()


@pytest.fixture
def reserved(client):
    def found():
        lambdas = client("lambda")
        several = [
            lambdas.get_function_concurrency(FunctionName=each["FunctionName"])
            for each in lambdas.list_functions()["Functions"]
        ]
        return [each.get("ReservedConcurrentExecutions") for each in several]

    return found


def swept():
    return [(each.kind, each.name) for each in _sweeping.leftovers(0.0)]


def test_values_that_follow_each_other_reserve_nothing_for_good(program, reserved):
    for calls in (10, 20, 40, 80):
        executor = program(concurrency=calls)
        assert reserved() == [calls]
        executor.shutdown()
        assert reserved() == [None]


def test_the_most_counts_as_long_as_somebody_wants_it(program, reserved):
    small, large = program(concurrency=10), program(concurrency=40)
    assert reserved() == [40]
    another = program(concurrency=20)
    assert reserved() == [40]
    large.shutdown()
    assert reserved() == [20]
    another.shutdown()
    assert reserved() == [10]
    small.shutdown()
    assert reserved() == [None]


def test_who_reserves_nothing_changes_nothing(program, reserved, proxy):
    holder = program(concurrency=10)
    proxy.asked.clear()
    program().shutdown()
    assert reserved() == [10]
    assert {each.operation for each in proxy.asked} <= {"GetFunctionConfiguration", ""}
    holder.shutdown()


def test_what_one_puts_while_another_takes_it_away(program, reserved, monkeypatch):
    """Whoever writes last has seen what both want."""
    first = program(concurrency=10)
    wishes, made = _reserved._wishes, []

    def looked(session, function):
        found = wishes(session, function)
        if not found and not made:
            # It sees nobody: and now there is somebody.
            made.append(True)
            program(concurrency=30)
            assert reserved() == [30]
        return found

    monkeypatch.setattr(_reserved, "_wishes", looked)
    first.shutdown()
    assert made
    assert reserved() == [30]


def test_what_a_program_wants_is_said_again(program, reserved, client, monkeypatch):
    """By its next call: it was taken for gone, or somebody has deleted the function."""
    executor = program(concurrency=10)
    name = executor._runtime.name
    client("lambda").delete_function_concurrency(FunctionName=name)
    executor._runtime.ready()
    assert reserved() == [None]
    monkeypatch.setattr(_reserved, "_SAYS", 0.0)
    executor._runtime.ready()
    assert reserved() == [10]
    client("lambda").delete_function(FunctionName=name)
    executor._runtime.ready()
    assert reserved() == [10]


def test_more_programs_than_a_function_has_tags(program, reserved, monkeypatch):
    monkeypatch.setattr(_reserved, "_MOST", 2)
    several = [program(concurrency=10) for _ in range(4)]
    several[3].shutdown()
    several[0].shutdown()
    assert reserved() == [10]


# -- programs that were ended ----------------------------------------------------------


def test_what_a_program_that_is_gone_has_reserved(
    program, reserved, client, monkeypatch
):
    """A sweep gives it back; not what another still wants."""
    owner = Owner.this()
    gone = owner._replace(started=owner.started + 1)
    living = program(concurrency=5)
    with monkeypatch.context() as then:
        then.setattr(_reserved, "owner_tags", lambda *_: {"entangle-owner": gone})
        program(concurrency=50)
    assert reserved() == [50]
    ((kind, name),) = swept()
    assert kind == "reservation"
    assert living._runtime.name in name
    for each in _sweeping.leftovers(0.0):
        each.remove()
    assert reserved() == [5]
    assert not swept()
    living.shutdown()
    assert reserved() == [None]


def tagged(client, executor):
    """Return the function's ARN, and what its programs want."""
    name = executor._runtime.name
    lambdas = client("lambda")
    arn = lambdas.get_function_configuration(FunctionName=name)["FunctionArn"]
    tags = lambdas.list_tags(Resource=arn)["Tags"]
    return arn, {name: tags[name] for name in tags if "-reserved-" in name}


def test_what_was_not_said_again_is_over(program, reserved, client):
    """Of a program of another machine nothing else is known."""
    arn, tags = tagged(client, program(concurrency=50))
    client("lambda").tag_resource(
        Resource=arn, Tags=dict.fromkeys(tags, f"50 {int(time.time()) - 60} other.1.1")
    )
    assert len(swept()) == 1
    assert reserved() == [50]
    living = program(concurrency=5)
    assert reserved() == [5]
    assert not swept()
    living.shutdown()
    assert reserved() == [None]


def test_a_function_that_was_deleted_has_nothing_to_be_given_back(
    program, client, caplog
):
    executor = program(concurrency=10)
    client("lambda").delete_function(FunctionName=executor._runtime.name)
    executor.shutdown()
    assert not caplog.records


def test_what_can_not_be_given_back_is_said(program, proxy, caplog):
    executor = program(concurrency=10)
    proxy.refuse("UntagResource", "AccessDeniedException", status=403)
    executor.shutdown()
    (warning,) = (each.getMessage() for each in caplog.records)
    assert "lambda:UntagResource is not allowed" in warning
    assert "entangle sweep aws" in warning
    caplog.clear()


def test_functions_that_may_not_be_listed(proxy):
    proxy.refuse("ListFunctions", "AccessDeniedException", status=403)
    with pytest.raises(AwsError, match="lambda:ListFunctions is not allowed"):
        swept()


def test_tags_are_what_aws_takes(program, client):
    _, tags = tagged(client, program(concurrency=10))
    (value,) = tags.values()
    assert re.fullmatch(r"10 [\w.:/=+@ -]{1,250}", value)
