"""Whether the watch that runs has the very programs of this version: then the next one can adopt them.

Run by the package's upgrade, with the new version's Python. Ends with 0 if so, else with 1.
"""

import os
import struct
import sys

from exporter.common.errors import KernelError
from exporter.events import wire
from exporter.kernel.compilation.sources import edition
from exporter.kernel.mounts import find_bpffs
from exporter.kernel.pins import config_of, home_of, is_of_watch, layout_of


def has_same_programs() -> bool:
    """Of every watch; one that can't be read is of another version."""
    bpffs = find_bpffs()
    home = home_of(os.geteuid(), bpffs) if bpffs else None
    instances = [path for path in home.iterdir() if path.is_dir()] if home and home.is_dir() else []
    return all(
        layout_of(each) == wire.LAYOUT and (not is_of_watch(each) or config_of(each).edition == edition())
        for each in instances
    )


if __name__ == "__main__":
    try:
        sys.exit(not has_same_programs())
    except (KernelError, OSError, ValueError, struct.error):
        sys.exit(1)
