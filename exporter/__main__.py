"""`ci-egress`, also as `python -m exporter`."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line and exit with its status.

    An interrupt ends it as it ends any program: Python would show where it was instead.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from exporter.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
