"""Puts the manual's pages, where `make man` has made them, into the wheel and into what it is built from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_MADE = "build/man"


class ManualPages(BuildHookInterface[Any]):
    """Where pip puts `share/man`, man(1) and pipx find them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add them to what is built; a checkout that is installed as it is goes without."""
        folder = Path(self.root, _MADE)
        if version == "editable" or not folder.is_dir():
            return
        if self.target_name == "sdist":
            build_data["force_include"][str(folder)] = _MADE
        else:
            pages = {str(page): f"share/man/man1/{page.name}" for page in sorted(folder.glob("*.1"))}
            build_data["shared_data"].update(pages)
