"""Tasks as jobs of a queue on your own machine: ``@onprem``.

from entangle_onprem import onprem

@onprem(slots=4)
def simulate(seed: int) -> float: ...
"""

from entangle.backend import infrastructure

from .errors import SpoolError
from .executor import OnpremExecutor

__all__ = ["OnpremExecutor", "SpoolError", "onprem"]

onprem = infrastructure(OnpremExecutor, name="onprem")
