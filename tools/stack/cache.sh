# Sourced: the folder for files that are built or unpacked, and the function for messages.
# shellcheck shell=bash

cache=${XDG_CACHE_HOME:-$HOME/.cache}/ci-egress
mkdir -p "$cache"

say() { printf 'stack: %s\n' "$*" >&2; }
