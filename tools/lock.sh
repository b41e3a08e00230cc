#!/usr/bin/env bash
# Writes constraints.txt anew: the newest versions that pyproject.toml allows, of everything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp --directory)
trap 'rm -rf -- "$work"' EXIT

/usr/bin/python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip --disable-pip-version-check --quiet install --editable '.[dev]'
{
    echo "# Every package of .venv, by 'make lock'. pip reads it as constraints, so that results can be repeated."
    "$work/venv/bin/python" -m pip --disable-pip-version-check freeze --exclude-editable
} >"$work/constraints.txt"
cp "$work/constraints.txt" constraints.txt
