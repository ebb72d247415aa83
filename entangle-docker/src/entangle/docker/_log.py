"""The logger of this distribution."""

from __future__ import annotations

import logging

log = logging.getLogger("entangle.docker")
