#!/usr/bin/env bash
# Prepares a place in which nobody has worked yet: what README's commands install, which takes minutes.
#
#   tests/clean/prepare.sh bookworm|trixie|clone FOLDER
#
# A suite's name stands for a Debian root with git and make and nothing else, in which nothing is written but into
# FOLDER/kept; there `make test-unit` is run, too. `clone` is on this machine, in FOLDER. Both have what HEAD is of
# this checkout. Nothing is traced here.
set -euo pipefail

readonly place=$1 folder=$2
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

if [[ $place == clone ]]; then
    mkdir "$folder/home"
    git clone --quiet "$project" "$folder/home/ci-egress-exporter"
    make -C "$folder/home/ci-egress-exporter" setup-dev
    exit
fi
root=$("$project/tools/debian-root.sh" "$place" git make)
mkdir -p "$folder/kept/upper/srv"
git clone --quiet --bare "$project" "$folder/kept/upper/srv/project.git"
# shellcheck disable=SC2016  # for the shell in there
exec "$project/tools/in-root.sh" --keep "$folder/kept" "$root" bash -euc '
    for absent in python3 pip curl gcc; do
        if command -v "$absent"; then echo "this root is not clean"; exit 1; fi
    done
    cd
    git clone --quiet /srv/project.git ci-egress-exporter
    cd ci-egress-exporter
    make setup
    make test-unit
'
