"""Distributions with plugins that exist for one test, and no others."""

import sys

from entangle._seam import discovery
from entangle._seam.plugins import Plugins

HEAD = """
from entangle.hooks import Command, Finding, Leftover, hookimpl
ENTANGLE_SPI = 1
"""
PLACE = """
@hookimpl
def entangle_executors():
    from entangle.backend import ThreadExecutor
    return {"%s": ThreadExecutor}
"""
USERS = ("_seam.plugins", "_run.observers", "_run.resolved", "_run.plan")


class Site:
    """A folder of installed distributions, on the path before all others."""

    def __init__(self, folder, version="1.0"):
        self.folder = folder
        self.version = version
        self.plugins = Plugins()
        folder.mkdir()

    def add(self, name, source="", *, head=HEAD, of="", entry="", metadata=None):
        """Install a distribution with one plugin."""
        (self.folder / f"{name}_plugin.py").write_text(head + source)
        entry = entry or f"{name} = {name}_plugin"
        self.dist(of or f"{name}-dist", f"[entangle]\n{entry}\n", metadata=metadata)

    def dist(self, name, entry_points, *, version="", metadata=None):
        """Install the metadata of a distribution."""
        version = version or self.version
        folder = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        if metadata is None:
            metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        if metadata:
            (folder / "METADATA").write_text(metadata)
        if entry_points is not None:
            (folder / "entry_points.txt").write_text(entry_points)

    def module(self, name):
        """Return the module of a plugin."""
        self.plugins.all()
        return sys.modules[f"{name}_plugin"]

    def use(self, monkeypatch):
        """Have runs, plans and commands use the plugins of this site."""
        for module in USERS:
            monkeypatch.setattr(f"entangle.{module}.plugins", self.plugins)


def new_site(tmp_path, monkeypatch, version="1.0"):
    """Make a site, nothing switched off: what a fixture yields from."""
    for name in ("ENTANGLE_DISABLE_PLUGINS", "ENTANGLE_TARGETS", "ENTANGLE_INLINE"):
        monkeypatch.delenv(name, raising=False)
    made = Site(tmp_path / "site", version)
    monkeypatch.setattr(sys, "path", [str(made.folder), *sys.path])
    everywhere = discovery.found

    def here():
        # Nothing that a test asks for may reach what is really installed.
        for each in everywhere():
            if each.where.startswith(str(tmp_path)):
                yield each

    monkeypatch.setattr(discovery, "found", here)
    before = set(sys.modules)
    yield made
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
