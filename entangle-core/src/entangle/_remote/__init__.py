"""Workers on the far side of byte streams."""
