"""Puts what git doesn't have into the wheel and the source distribution.

These are the compiled programs, without which nothing is built, and the manual's pages, where `make man` has
made them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PAGES = "build/man"
_OBJECTS = "bpf/objects"


class Made(BuildHookInterface[Any]):
    """The hook that adds them: man(1) and pipx find pages where pip puts `share/man`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add all to what is built; an editable installation has none. Raises RuntimeError."""
        if version == "editable":
            return
        self._require_objects()
        pages = Path(self.root, _PAGES)
        if self.target_name == "sdist":
            folders = (folder for folder in (_OBJECTS, _PAGES) if Path(self.root, folder).is_dir())
            build_data["force_include"].update({str(Path(self.root, each)): each for each in folders})
        else:
            shared = {str(page): f"share/man/man1/{page.name}" for page in sorted(pages.glob("*.1"))}
            build_data["shared_data"].update(shared)

    def _require_objects(self) -> None:
        """Raise RuntimeError where the programs aren't compiled, or are those of other sources."""
        sys.path.insert(0, self.root)
        from exporter.kernel.compilation.compiling import prebuilt
        from exporter.kernel.requirements import MACHINES

        for machine in MACHINES:
            if prebuilt(machine) is None:
                raise RuntimeError(f"{_OBJECTS}/{machine}.json isn't of this bpf/: run `make objects`")
