"""Tasks of a module, which both ends find by its name."""

from entangle.process import process
from entangle.task import gather


@process
def double(number):
    """Return twice as much."""
    return 2 * number


def all_doubled(count):
    """Run a graph inside of a task."""
    return gather(*[double(number) for number in range(count)])()
