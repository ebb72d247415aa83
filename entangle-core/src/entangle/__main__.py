"""`python -m entangle` is the command `entangle`."""

import sys

from entangle._cli.main import main

sys.exit(main())
