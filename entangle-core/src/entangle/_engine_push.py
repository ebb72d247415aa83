"""The firing rule of push graphs.

A pulled item fires when all its inputs have succeeded, and fails with the first that
fails. A pushed one fires when all its inputs, its parents, are decided, with the values
of those that ran; it is skipped if one of them failed or none ran. So a failure stops a
branch, not the run.
"""

from entangle._engine_items import FAILED, HINDERED, PUSH, SUCCEEDED, Item


def hinder(consumer: Item) -> bool:
    """An input of an item has failed or was skipped; whether it was the last to end.

    Args:
        consumer: A pushed item, or a tolerant one, that has not ended.
    """
    consumer.pending -= 1
    if consumer.flags & PUSH:
        consumer.flags |= HINDERED
    return not consumer.pending


def fires(item: Item) -> bool:
    """Tell whether a pushed item whose inputs have all ended is to run."""
    statuses = {producer.status for producer in item.inputs}
    return SUCCEEDED in statuses and FAILED not in statuses


def arrived(item: Item) -> list[Item]:
    """List the inputs that a pushed item fires with: those that ran, in order."""
    return [producer for producer in item.inputs if producer.status == SUCCEEDED]
