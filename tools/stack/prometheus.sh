#!/usr/bin/env bash
# Prints where Prometheus and promtool are, a line each: NAME PATH.
#
# Those on PATH if they are recent enough. Else the distribution's package is unpacked into the user's cache:
# installing it would start a service on this machine. Unpacked it serves all but its pages, whose place is compiled in.
set -Eeuo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/stack/cache.sh
. "$here/cache.sh"

packages=(prometheus)
readonly version_min=2.42

# Print where both are, if they say that they have at least this version.
print_found() {
	local program path version
	for program in prometheus promtool; do
		path=$(command -v "$program") || return 1
		version=$("$path" --version 2>&1 | sed -nE 's/.*version ([0-9]+(\.[0-9]+)+).*/\1/p' | head -n 1)
		[[ $(printf '%s\n' "$version_min" "$version" | sort -V | head -n 1) == "$version_min" ]] || return 1
		echo "$program $path"
	done
}

can_download() { apt-get download --print-uris "$@" >/dev/null 2>&1; }

unpack() {
	local target=$1 temporary package
	if ! can_download "${packages[@]}" && ((EUID == 0)); then
		apt-get update -qq >&2 || say "some package lists could not be read; going on with the others"
	fi
	can_download "${packages[@]}" || {
		say "apt knows no package prometheus; install Prometheus $version_min or newer on PATH, or run" \
			"apt-get update as root"
		exit 1
	}
	# Since Debian 13 it has a package of its own.
	if can_download promtool; then
		packages+=(promtool)
	fi
	say "unpacking ${packages[*]} of this distribution into $target"
	temporary=$(mktemp -d "$target.XXXXXX")
	# shellcheck disable=SC2064  # the path of now
	trap "rm -rf '$temporary'" EXIT
	(cd "$temporary" && apt-get download -qq -o APT::Sandbox::User=root "${packages[@]}" >&2)
	for package in "$temporary"/*.deb; do
		dpkg-deb --extract "$package" "$temporary"
		rm "$package"
	done
	chmod 0755 "$temporary"
	mv --no-target-directory "$temporary" "$target"
}

if found=$(print_found); then
	echo "$found"
	exit
fi
command -v apt-get >/dev/null || {
	say "no apt-get here: put Prometheus $version_min or newer on PATH"
	exit 1
}
# shellcheck source=/dev/null
target=$cache/prometheus-$(. /etc/os-release && echo "$ID-${VERSION_ID:-}")-$(sha256sum "$0" | cut -c 1-12)
exec {lock}>"$target.lock"
flock "$lock"
[[ -d $target ]] || unpack "$target"
PATH=$target/usr/bin:$PATH print_found || {
	say "this distribution's Prometheus is older than $version_min"
	exit 1
}
