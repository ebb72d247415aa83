"""Measures Entangle against its peers, for `entangle bench`."""
