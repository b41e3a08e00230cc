"""Whether this version's programs load on this kernel: an upgrade asks before it ends the watch that runs.

They are taken by the verifier, attached beside those of the watch, and detached again. Ends with 0 if so,
and with 91 and the reason if not.
"""

import sys

from exporter.common.errors import CANNOT_TRACE_STATUS
from exporter.common.text import printable
from exporter.kernel.doctor import probe

_LINE_MAX = 1000


def main() -> int:
    """Look, and say why not."""
    check = probe()
    if check.ok:
        return 0
    sys.stderr.write(f"ci-egress: {printable(f'{check.lost}; {check.fix}', limit=_LINE_MAX)}\n")
    return CANNOT_TRACE_STATUS


if __name__ == "__main__":
    sys.exit(main())
