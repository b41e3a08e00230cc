"""Whether this version's programs load on this kernel: an upgrade asks before it ends the watch that runs.

They are compiled, taken by the verifier, attached beside those of the watch, and detached again; what was
compiled is kept for the start that follows. Ends with 0 if so, with 91 and the reason if not, and with 75
where that can't be told yet, since the compiler isn't in order.
"""

import sys

from exporter.common.errors import CANNOT_TRACE_STATUS, KernelError
from exporter.common.text import printable
from exporter.kernel.compilation.compiling import system_compiler
from exporter.kernel.doctor import probe

_UNKNOWN_STATUS = 75  # EX_TEMPFAIL, sysexits.h
_LINE_MAX = 1000


def main() -> int:
    """Look, and say why not."""
    try:
        system_compiler().version()
    except KernelError as error:
        _say(str(error))
        return _UNKNOWN_STATUS
    check = probe(uses_cache=True)
    if check.ok:
        return 0
    _say(f"{check.lost}; {check.fix}")
    return CANNOT_TRACE_STATUS


def _say(text: str) -> None:
    sys.stderr.write(f"ci-egress: {printable(text, limit=_LINE_MAX)}\n")


if __name__ == "__main__":
    sys.exit(main())
