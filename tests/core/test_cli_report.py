"""A failure's report shows the user's code, not ours."""

import entangle._cli.load
from entangle._cli.report import describe


def failed(action):
    try:
        action()
    except Exception as error:
        return error
    return None


def through_us(path="/nowhere.py"):
    entangle._cli.load.load(__import__("pathlib").Path(path), [])


def test_our_frames_are_hidden():
    """Only the user's frames remain."""
    text = describe(failed(through_us))
    assert "through_us" in text
    assert "load.py" not in text
    assert text.endswith("no file '/nowhere.py'")


def test_our_frames_on_demand(monkeypatch):
    """ENTANGLE_FULL_TRACEBACK shows them all."""
    monkeypatch.setenv("ENTANGLE_FULL_TRACEBACK", "1")
    assert "load.py" in describe(failed(through_us))


def test_causes_and_groups_and_notes():
    """The whole chain is cleaned, groups included, and notes are shown."""

    def chained():
        try:
            through_us()
        except Exception as error:
            error.add_note("in node f")
            raise ExceptionGroup("several", [error]) from error

    text = describe(failed(chained))
    assert "load.py" not in text
    assert text.count("in node f") == 2
