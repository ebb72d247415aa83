"""The seam: what the framework and the places where calls run know of each other."""
