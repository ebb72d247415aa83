"""A store in a directory that client and jobs share."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .store import Store, StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class DirectoryStore(Store):
    """Keeps objects as files. Thread-safe.

    Args:
        folder: The directory, under the same path for client and jobs. It is made if
            need be, for nobody else to read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, key: str, data: bytes) -> None:
        """Write a file beside and give it its name."""
        path = self._path(key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        try:
            beside.write_bytes(data)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def get(self, key: str) -> bytes:
        """Read a file.

        Raises:
            KeyError: There is none.
        """
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the files under a prefix."""
        top = self._path(prefix)
        now = time.time()
        for folder, _, names in os.walk(top if top.is_dir() else top.parent):
            for name in names:
                path = Path(folder, name)
                key = str(path.relative_to(self._folder))
                if key.startswith(prefix) and not name.endswith(".part"):
                    try:
                        about = path.stat()
                    except FileNotFoundError:
                        continue
                    age = max(0.0, now - about.st_mtime)
                    yield StoredObject(key, about.st_size, age)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove files, with the folders that are empty then."""
        for key in keys:
            path = self._path(key)
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._folder:
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break

    def read_url(self, key: str, seconds: float) -> str:
        """Return the file's address."""
        del seconds  # it is good as long as the file is there
        return f"file://{self._path(key)}"

    def write_url(self, key: str, seconds: float) -> str:
        """Return the file's address, in a folder that is there."""
        self._path(key).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.read_url(key, seconds)

    def where(self, key: str) -> str:
        """Return the path."""
        return str(self._path(key))

    def _path(self, key: str) -> Path:
        return self._folder / key
