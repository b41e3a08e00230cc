#!/usr/bin/env bash
# Builds actionlint from the Go module proxy, once, and prints the path of the binary.
set -Eeuo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/stack/cache.sh
. "$here/stack/cache.sh"
# shellcheck source=tools/stack/go.sh
. "$here/stack/go.sh"

readonly module=github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

target=$cache/actionlint-${module##*@}
exec {lock}>"$target.lock"
flock "$lock"
if [[ ! -x $target/actionlint ]]; then
	trap 'say "actionlint was not built; that needs the Go module proxy, and PyPI where no Go of at least 1.25 is installed"' ERR
	go=$(find_go)
	say "building actionlint"
	GOTOOLCHAIN=local GOBIN=$target CGO_ENABLED=0 "$go" install -trimpath -ldflags='-s -w' "$module" >&2
fi
echo "$target/actionlint"
