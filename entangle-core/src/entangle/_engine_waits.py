"""When the bound on an item's inputs starts to run.

`wait=s` counts from the moment when the first body of the item's argument graph (its
transitive inputs) is entered, or a part of it ends without that. So that this costs nothing where nobody waits, and each
edge is crossed at most twice where many do, the graph is marked: `watch` marks
downwards what lies under an item that waits, once, however many wait above it; `stir`
marks upwards, once, what has a body below it that was entered. Only watched items are
asked for the time of their start.
"""

from typing import TYPE_CHECKING

from entangle._engine_items import (
    BEGUN,
    EXTERNAL,
    SUCCEEDED,
    WAITING,
    WAITS,
    WATCHED,
    Item,
    consumers_of,
)

if TYPE_CHECKING:
    from entangle._engine_deadlines import Alarms


def watch(item: Item, alarms: "Alarms", now: float) -> None:
    """Watch the argument graph of `item`; if part of it has begun, start counting.

    When that part was entered is not known if nobody watched it: it counts from `now`.
    """
    stack = [item]
    # Last, when all is marked: their consumers learn of it.
    stirred: list[Item] = []
    while stack:
        consumer = stack.pop()
        for producer in consumer.inputs:
            if producer.flags & BEGUN or producer.status >= SUCCEEDED:
                stirred.append(consumer)
            elif not producer.flags & WATCHED:
                producer.flags |= WATCHED
                if _has_begun(producer):
                    stirred.append(producer)
                stack.append(producer)
    for each in stirred:
        stir(each, alarms, now)


def stir(item: Item, alarms: "Alarms", at: float) -> None:
    """The body of `item`, or one in its argument graph, was entered at `at`."""
    stack = [item]
    while stack:
        each = stack.pop()
        if each.flags & WAITS and each.status == WAITING:
            arm(each, alarms, at)
        if each.flags & (WATCHED | BEGUN) == WATCHED:
            each.flags |= BEGUN
            stack += consumers_of(each)


def arm(item: Item, alarms: "Alarms", at: float) -> None:
    """Bound the time of the inputs of `item` from `at`, unless that is so already."""
    extra = item.extra
    wait = item.options.wait
    if wait is not None and (extra is None or not extra.token):
        alarms.arm(item, at + wait)


def _has_begun(item: Item) -> bool:
    return item.attempt > 0 or item.flags & EXTERNAL != 0
