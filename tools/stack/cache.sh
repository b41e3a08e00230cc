# Sourced: where what is built or unpacked is kept, and how these scripts speak.
# shellcheck shell=bash

cache=${XDG_CACHE_HOME:-$HOME/.cache}/ci-egress
mkdir -p "$cache"

say() { printf 'stack: %s\n' "$*" >&2; }
