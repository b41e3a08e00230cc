"""Guided by coverage: `python -m tests.fuzz.guided TARGET -max_total_time=60`, with libFuzzer's options.

Needs atheris, which isn't among the packages of .venv: one version doesn't do for every Python.
An input is a file of bytes here, each choice of the target some of them.
"""

from __future__ import annotations

import sys

import atheris

from tests.fuzz.draw import Guided

with atheris.instrument_imports(include=["exporter"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Runs until something crashes, or until libFuzzer's options say so."""
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, lambda data: target.check(Guided(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
