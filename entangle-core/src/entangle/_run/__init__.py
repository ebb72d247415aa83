"""Runs: graphs under way, from the first call to the value."""
