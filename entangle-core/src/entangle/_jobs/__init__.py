"""Jobs: calls that run somewhere, sometime, and are asked after."""
