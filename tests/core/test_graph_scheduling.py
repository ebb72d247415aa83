"""The CPU of a call is chosen by the default, a class, or the class at a path."""

import pytest

from entangle._graph.options import SchedulerOptions
from entangle._graph.scheduling import make_scheduler
from entangle.errors import CompositionError
from entangle.scheduler import LowestFree


class Highest:
    def __init__(self, cpus):
        self.cpus = cpus

    def choose(self, free):
        return max(free)


def test_the_default_is_the_lowest():
    made = make_scheduler(SchedulerOptions(2), (0, 1))
    assert isinstance(made, LowestFree)
    assert made.cpus == (0, 1)
    assert made.choose(frozenset({1, 0})) == 0


@pytest.mark.parametrize("impl", [Highest, f"{__name__}.Highest"])
def test_a_class_or_its_path(impl):
    made = make_scheduler(SchedulerOptions(2, impl), (0, 1))
    assert isinstance(made, Highest)
    assert made.choose(frozenset({1, 0})) == 1


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no.such.module.Chooser", "leads to no class: No module named 'no'"),
        (f"{__name__}.Missing", "leads to no class"),
        (f"{__name__}.make_scheduler", "no class with a method choose"),
        ("collections.OrderedDict", "no class with a method choose"),
    ],
)
def test_a_path_that_leads_nowhere(path, words):
    with pytest.raises(CompositionError, match=words):
        make_scheduler(SchedulerOptions(2, path), (0, 1))
