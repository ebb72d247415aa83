"""Why a run has come to a stop: something waits for itself.

Graphs have no cycles when they are built; a body that returns a node which needs the
body's own value makes one.
"""

from typing import TYPE_CHECKING

from entangle._engine_items import EXPANDING, SUCCEEDED, Item
from entangle.errors import CompositionError, InternalError

if TYPE_CHECKING:
    from collections.abc import Callable


def find_knot(
    root: Item, name: "Callable[[object], str]"
) -> tuple[Item, BaseException]:
    """Find what keeps `root` from ending, when nothing goes on any more.

    Args:
        root: An item that has not ended.
        name: Names a node.

    Returns:
        The item that must fail, and with what.
    """
    item = root
    path: set[Item] = set()
    while item not in path:
        path.add(item)
        waits_for = _first_unended(item)
        if waits_for is None:
            return item, InternalError(
                f"{name(item.node)} is {item.state}, but nothing is left that could "
                "end it"
            )
        item = waits_for
    # Here the path has closed; on the way round there is what returned a node.
    path.clear()
    while item.status != EXPANDING and item not in path:
        path.add(item)
        item = _first_unended(item) or item
    culprit = name(item.node)
    return item, CompositionError(
        f"{culprit} returned a node that needs the value of {culprit} itself, so "
        "neither can ever be there: return a node that does not depend on it",
        task=culprit,
    )


def _first_unended(item: Item) -> Item | None:
    return next((p for p in item.inputs if p.status < SUCCEEDED), None)
