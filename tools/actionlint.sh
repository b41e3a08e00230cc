#!/usr/bin/env bash
# Builds actionlint from the Go module proxy, once, and prints the path of the binary.
set -Eeuo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/stack/cache.sh
. "$here/stack/cache.sh"
# shellcheck source=tools/stack/go.sh
. "$here/stack/go.sh"

go_program github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
