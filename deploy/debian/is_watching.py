"""Whether a watch runs on this host with its programs attached: a probe for what can't be told READY=1.

Ends with 0 if so, else with 1 and the reason.
"""

import struct
import sys

from exporter.common.errors import KernelError
from exporter.kernel.instances.control import instances
from exporter.kernel.pins import is_of_watch


def is_watching() -> bool:
    """Of any of this user's instances; one that is only beginning doesn't count."""
    return any(
        each.is_alive and each.is_of_this_version and is_of_watch(each.directory) for each in instances()
    )


if __name__ == "__main__":
    try:
        sys.exit(0 if is_watching() else "no watch runs, or its programs aren't attached yet")
    except (KernelError, OSError, ValueError, struct.error) as error:
        sys.exit(f"it can't be told whether a watch runs: {error}")
