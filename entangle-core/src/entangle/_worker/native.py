"""The two Linux process attributes that Python has no call for."""

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def _prctl():
    # The extension module alone: importing `ctypes` would make each fork dearer.
    try:
        import _ctypes

        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")
        call = _ctypes.call_cdeclfunction
    except (ImportError, AttributeError, OSError):
        return lambda option, value: -1
    return lambda option, value: call(address, (option, value, 0, 0, 0))


prctl = _prctl()


def adopt_orphans():
    """Make this process the parent of every orphan among its descendants."""
    return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0


def die_with_parent(signal_number):
    """Have the kernel send a signal to this process when its parent's thread ends."""
    return prctl(PR_SET_PDEATHSIG, signal_number) == 0
