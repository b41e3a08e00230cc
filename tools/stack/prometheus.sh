#!/usr/bin/env bash
# Prints where Prometheus, promtool, Alertmanager and amtool are, a line each: NAME PATH.
#
# Those on PATH if they are recent enough. Else the distribution's packages are unpacked into the user's cache:
# installing them would start services on this machine.
set -Eeuo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/stack/cache.sh
. "$here/cache.sh"

packages=(prometheus prometheus-alertmanager)
readonly prometheus_min=2.42 alertmanager_min=0.25

# Print the path of a program that says it has at least this version. Debian has another name for alertmanager.
find_recent() {
	local candidate path version
	for candidate in "$1" "prometheus-$1"; do
		path=$(command -v "$candidate") || continue
		version=$("$path" --version 2>&1 | sed -nE 's/.*version ([0-9]+(\.[0-9]+)+).*/\1/p' | head -n 1)
		if [[ $(printf '%s\n' "$2" "$version" | sort -V | head -n 1) == "$2" ]]; then
			echo "$path"
			return
		fi
	done
	return 1
}

print_found() {
	local program path
	for program in prometheus promtool; do
		path=$(find_recent "$program" "$prometheus_min") || return 1
		echo "$program $path"
	done
	for program in alertmanager amtool; do
		path=$(find_recent "$program" "$alertmanager_min") || return 1
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
		say "apt knows no package ${packages[*]}; install Prometheus $prometheus_min and Alertmanager" \
			"$alertmanager_min or newer on PATH, or run apt-get update as root"
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
	say "no apt-get here: put Prometheus $prometheus_min and Alertmanager $alertmanager_min or newer on PATH"
	exit 1
}
# shellcheck source=/dev/null
target=$cache/prometheus-$(. /etc/os-release && echo "$ID-${VERSION_ID:-}")-$(sha256sum "$0" | cut -c 1-12)
exec {lock}>"$target.lock"
flock "$lock"
[[ -d $target ]] || unpack "$target"
PATH=$target/usr/bin:$PATH print_found || {
	say "this distribution's Prometheus is older than $prometheus_min, or its Alertmanager than $alertmanager_min"
	exit 1
}
