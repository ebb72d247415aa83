"""What a job runs: the worker as one archive, and the line that starts it."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

VARIABLE: Final = "ENTANGLE_JOB"
"""The environment variable in which a job finds where its call lies."""

HANDLER: Final = "entangle._worker.sandbox.handler"
"""The function in the archive that a function service calls with a payload."""

# For any Python from 3.9 on, with nothing installed. Addresses are good for reading
# only, and what is read is known by its digest. Told to end once its folder is there, it
# does so where that is removed.
BOOTSTRAP: Final = f"""
import hashlib,json,os,signal,sys,tempfile,time,urllib.request
j=json.loads(os.environ.pop({VARIABLE!r}))
p=j["program"]
if sys.version_info<(3,9):sys.exit("entangle: Python 3.9 or newer is needed, not "+sys.version)
for n in range(6):
 try:
  u=p["url"]
  z=open(u[7:],"rb").read() if u[:7]=="file://" else urllib.request.urlopen(u,timeout=60).read()
  break
 except OSError as e:
  if n==5:sys.exit("entangle: the program can't be fetched: %s"%e)
  time.sleep(.2*2**n)
if hashlib.sha256(z).hexdigest()!=p["sha256"]:sys.exit("entangle: the program was changed")
signal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGTERM])
d=tempfile.mkdtemp(prefix="entangle-job-")
f=os.path.join(d,"entangle.zip")
open(f,"wb").write(z)
sys.path.insert(0,f)
from entangle._worker.job import main
main(j,d)
"""

_LEFT_OUT: Final = frozenset(("__pycache__", "_bench", "_cli"))
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes from every machine


@functools.cache
def archive() -> bytes:
    """Return all that a job imports, as a zip: the worker, cloudpickle, and Entangle.

    The last is for modules of the caller's own that import it.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        # Without an entry of its own a namespace is not found in an archive.
        made.writestr(zipfile.ZipInfo("entangle/", _FIXED_DATE), b"")
        for root, folder in _packages():
            for path, source in sorted(_sources(folder, root)):
                entry = zipfile.ZipInfo(path, _FIXED_DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                made.writestr(entry, source)
    return file.getvalue()


def _packages() -> Iterator[tuple[str, Traversable]]:
    # Of the namespace the folder of this distribution alone.
    worker: Any = resources.files("entangle._worker")
    yield "entangle", Path(str(worker)).parent
    for name in ("cloudpickle", "pluggy"):
        yield name, resources.files(name)


@functools.cache
def digest() -> str:
    """Return the SHA-256 of the archive in hexadecimal digits."""
    return hashlib.sha256(archive()).hexdigest()


def _sources(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        path = f"{name}/{entry.name}"
        if entry.is_dir() and entry.name not in _LEFT_OUT:
            yield from _sources(entry, path)
        elif entry.name.endswith(".py"):
            yield path, entry.read_bytes()
