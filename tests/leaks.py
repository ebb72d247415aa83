"""The leak guard of these tests: the kit's ledger, and the end of the pool."""

import sys

from entangle.testing.leaks import MARK, Ledger

__all__ = ["MARK", "Ledger", "shutdown_pool"]


def shutdown_pool():
    """End the pool of this process, if one was ever made."""
    if "entangle._pool.pool" in sys.modules:
        from entangle.task import shutdown

        shutdown()
