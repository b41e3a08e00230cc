#!/usr/bin/env bash
# Fetches the Python that a single-file build carries from the Go module proxy, once, and prints the folder of the module.
# Go checks it by tools/release/python/go.sum.
#
#   tools/standalone-python.sh
#   tools/standalone-python.sh --update    writes go.sum anew, for another version in go.mod
set -Eeuo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/stack/cache.sh
. "$here/stack/cache.sh"
# shellcheck source=tools/stack/go.sh
. "$here/stack/go.sh"

readonly module=github.com/kluctl/go-embed-python

go=$(find_go)
export GOTOOLCHAIN=local
cd "$here/release/python"
[[ ${1:-} != --update ]] || "$go" mod download "$module"
"$go" mod verify >&2
"$go" list -mod=readonly -m -f '{{.Dir}}' "$module"
