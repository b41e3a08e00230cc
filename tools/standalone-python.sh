#!/usr/bin/env bash
# Fetches a Go module from the Go module proxy, once, and prints Go's account of it as JSON, with its folder.
# A single-file build carries the Python that a module has; tools/release/standalone.py names the module and its digest.
#
#   tools/standalone-python.sh MODULE@VERSION
set -Eeuo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/stack/cache.sh
. "$here/stack/cache.sh"
# shellcheck source=tools/stack/go.sh
. "$here/stack/go.sh"

go=$(find_go)
# Outside of the tree, since Go would write into a go.mod; without Go's database of digests, as the caller has its own.
cd "$cache"
GOTOOLCHAIN=local GONOSUMDB=${1%@*} "$go" mod download -json "$1"
