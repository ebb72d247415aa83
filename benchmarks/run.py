"""Measure Entangle against its peers, in full: `python benchmarks/run.py [ARGS]`."""

import sys

from entangle._cli.main import main

if __name__ == "__main__":
    sys.exit(main(["bench", "--full", *sys.argv[1:]]))
