"""Puts the manual's pages, where `make man` has made them, into the wheel and the source distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_MADE = "build/man"


class ManualPages(BuildHookInterface[Any]):
    """The hook that adds them: man(1) and pipx find them where pip puts `share/man`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the pages to what is built; an editable installation has none."""
        folder = Path(self.root, _MADE)
        if version == "editable" or not folder.is_dir():
            return
        if self.target_name == "sdist":
            build_data["force_include"][str(folder)] = _MADE
        else:
            pages = {str(page): f"share/man/man1/{page.name}" for page in sorted(folder.glob("*.1"))}
            build_data["shared_data"].update(pages)
