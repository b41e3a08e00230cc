"""README's commands as one script that a shell runs from top to bottom, as its reader would.

They are what stands between ```sh and ```; whatever isn't meant to be typed there has another language.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from tests.checkout import ROOT

README = ROOT / "README.md"
_FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REMARK = re.compile(r"\s+#\s.*$")
_DAEMON = re.compile(r"(\S+=\S+ )*ci-egress watch\b.*")

PRELUDE = """
set -euo pipefail
exec 2>&1
trap 'echo "failed: $BASH_COMMAND"' ERR
ready() { # until the daemon $1 has said so in the file $2, or is gone
    until grep -q "watching" "$2"; do
        kill -0 "$1" || { cat "$2"; return 1; }
        sleep 0.1
    done
}
"""
"""A sleep between two looks; pytest's time limit ends the wait."""


def commands(text: str) -> list[str]:
    """Each command, without its remark."""
    lines = (line for fence in _FENCE.findall(text) for line in _joined(fence))
    return [command for line in lines if (command := _REMARK.sub("", line).strip())]


def _joined(fence: str) -> list[str]:
    """Lines as a shell reads them: one that ends with a backslash goes on in the next."""
    return fence.replace("\\\n", " ").splitlines()


def script(steps: Iterable[tuple[str, str]]) -> str:
    """Of each command, with what is to be run for it, which is mostly itself; "" leaves it out."""
    return PRELUDE + "".join(_step(written, run) for written, run in steps)


def _step(written: str, run: str) -> str:
    shown = written if run == written else f"{written}  ({run or 'left out'})"
    told = f"printf '\\n$ %s\\n' {shlex.quote(shown)}\n"
    if _DAEMON.fullmatch(run):
        return f"{told}{run} 2>watch.log & watch=$!\nready $watch watch.log\nkill -TERM $watch\nwait $watch\n"
    return f"{told}{run}\n"
