"""The worker program: what runs on the other side of a stream of frames.

The standard library and cloudpickle only, in the syntax of Python 3.9, without an
import of any other layer: these modules are shipped to places where nothing else of
Entangle is installed.
"""
