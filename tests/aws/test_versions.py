"""Which Python a place is taken to have, so that nobody has to find out."""

import sys
from contextlib import contextmanager

import pytest

from entangle.aws import _versions
from entangle.aws._ec2 import Ec2Executor
from entangle.aws._fargate import FargateExecutor

pytestmark = pytest.mark.usefixtures("books")
HERE = sys.version_info[:2]


@contextmanager
def made(kind, **options):
    place = kind(**options)
    yield place
    place.shutdown()


@pytest.mark.parametrize(
    ("options", "version"),
    [
        ({}, HERE),
        ({"image": "python:3.12-slim"}, (3, 12)),
        ({"image": "registry.example.org:5000/mirror/python:3.9"}, (3, 9)),
        ({"image": "python:3.12-slim", "python": "/opt/bin/python3.10"}, (3, 10)),
        ({"image": "python:3"}, None),
        ({"image": "example.org/own-python:3.12"}, None),
        ({"image": "pypy:3.10"}, None),
    ],
)
def test_of_fargate(options, version):
    with made(FargateExecutor, **options) as place:
        assert place.python == version


def test_the_image_follows_the_version_that_runs_here(monkeypatch):
    assert f":{HERE[0]}.{HERE[1]}-slim" in _versions.image()
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    # Of one that is not out yet there is none.
    assert ":3.99-" not in _versions.image()


@pytest.mark.parametrize(
    ("options", "version"),
    [
        ({}, (3, 9)),
        ({"python": "python3.11"}, (3, 11)),
        ({"ami": "ami-12345678"}, None),
        ({"ami": "ami-12345678", "python": "python3.12"}, (3, 12)),
        ({"python": "/opt/python"}, None),
    ],
)
def test_of_instances(options, version, monkeypatch):
    monkeypatch.setattr(_versions, "AMAZON_LINUX", (3, 9))
    with made(Ec2Executor, **options) as place:
        assert place.python == version
