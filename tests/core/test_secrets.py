"""References to secrets: names that travel, values that don't."""

import pickle
import traceback

import pytest

from entangle.errors import SecretError
from entangle.process import process
from entangle.secrets import Secret, env, file, known, scrub

CANARY = "canary-5ecret"


@pytest.fixture(autouse=True)
def _value(monkeypatch):
    monkeypatch.setenv("TOKEN", CANARY)


def test_a_name_stands_for_the_value():
    """It is read each time, where it is asked for."""
    secret = env("TOKEN")
    assert isinstance(secret, Secret)
    assert secret.value() == CANARY


def test_nothing_that_shows_it_shows_the_value():
    """Text, format, pickle, dir: only the name."""
    secret = env("TOKEN")
    secret.value()
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!s:>5}"):
        assert text == "env('TOKEN')"
    assert CANARY.encode() not in pickle.dumps(secret)
    assert CANARY not in str([getattr(secret, name) for name in dir(secret)])


def test_equal_by_name():
    """Of one kind."""
    assert env("TOKEN") == env("TOKEN") != env("OTHER")
    assert env("TOKEN") != file("TOKEN")
    assert len({env("TOKEN"), env("TOKEN"), file("TOKEN")}) == 2
    assert pickle.loads(pickle.dumps(env("TOKEN"))) == env("TOKEN")
    with pytest.raises(AttributeError, match="immutable"):
        env("TOKEN").name = "OTHER"


@pytest.mark.parametrize("name", ["", 5, None, "a\0b"])
def test_names_that_are_none(name):
    with pytest.raises((ValueError, TypeError)):
        env(name)


def test_a_file(tmp_path):
    """Its text without the line ends behind it."""
    path = tmp_path / "token"
    path.write_text(f"{CANARY}\r\n")
    assert file(path).value() == CANARY
    assert repr(file(path)) == f"file({str(path)!r})"


def test_what_is_not_there_is_told_by_name(tmp_path, monkeypatch):
    """And each such error pickles."""
    empty = tmp_path / "empty"
    empty.write_text("\n")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    monkeypatch.setenv("EMPTY", "")
    for secret, words in (
        (env("NOBODY_HAS_SET_THIS"), "not set"),
        (env("EMPTY"), "is empty"),
        (file(tmp_path / "nowhere"), "No such file"),
        (file(empty), "is empty"),
        (file(binary), "no text"),
        (file(tmp_path), "directory"),
    ):
        with pytest.raises(SecretError, match=words) as got:
            secret.value()
        assert got.value.secret == repr(secret)
        assert str(pickle.loads(pickle.dumps(got.value))) == str(got.value)


def test_scrubbing():
    """What was read here is taken out of texts; longest first; short ones are left."""
    env("TOKEN").value()
    known(f"{CANARY}-longer")
    known("abc")
    text = scrub(f"a {CANARY}-longer b {CANARY} c abc")
    assert text == "a … b … c abc"


@pytest.mark.process
def test_workers_read_their_own(monkeypatch):
    """The environment that a task states counts; a missing one is an error there."""

    @process(env={"TOKEN": "of the worker"})
    def read(secret):
        return secret.value()

    assert read(env("TOKEN"))() == "of the worker"
    monkeypatch.delenv("TOKEN")

    @process
    def plain(secret):
        return secret.value()

    with pytest.raises(SecretError, match="TOKEN is not set") as got:
        plain(env("TOKEN"))()
    assert CANARY not in "".join(traceback.format_exception(got.value))
