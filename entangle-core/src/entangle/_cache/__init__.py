"""Values that outlive runs: their keys, the files that hold them, the room they take."""
