#!/usr/bin/env bash
# In a Debian root (tools/in-root.sh): adds .venv and what boots, and packs the root as a file system in FILE.
#
#   tools/kernels/image.sh FILE
#
# FILE stands in a folder of its own, which the image has as an empty one; venv.tar is left beside it. .venv is at
# /venv, since in-root.sh shows the checkout read-only; guest.sh links it into the checkout.
set -euo pipefail

readonly file=$1 venv=/venv
folder=$(dirname "$file")

update-ca-certificates >/dev/null # those that in-root.sh handed in
python3 -m venv "$venv"
# Not all of the extra `dev`: linters and browsers aren't needed there.
PIP_CONSTRAINT=/src/constraints.txt "$venv/bin/pip" --disable-pip-version-check --quiet install --no-cache-dir \
    --editable /src hypothesis pyelftools pytest pytest-timeout
# What pytest makes of the modules of its plugins, of all of hypothesis's for one, it finds there the next time.
plugins=$(mktemp --directory)
echo 'import hypothesis.strategies' >"$plugins/test_none.py"
env --unset=PYTHONDONTWRITEBYTECODE "$venv/bin/python" -m pytest --quiet --collect-only "$plugins" >/dev/null ||
    [[ $? == 5 ]] # no test is there
rm -r "$plugins"
install -m 0755 /src/tools/kernels/guest.sh /sbin/guest
mkdir -p /lib/modules /results "$folder"

tar --create --directory=/ --file="$folder/venv.tar" "${venv#/}"

# The root alone: neither what in-root.sh mounts in it, nor the image itself.
mount --bind / /mnt
mount -t tmpfs none "/mnt$folder"
mke2fs -q -t ext4 -O ^has_journal -L root -d /mnt "$file" 3G
