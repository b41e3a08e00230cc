#!/bin/sh
# ci-egress @VERSION@ for Linux on @MACHINE@, in one file: behind this script is an archive of all that it needs, a Python
# too. The first start unpacks it, into a folder that only its user can write.
set -eu

unpack() (
	umask 022
	PATH=/usr/sbin:/usr/bin:/sbin:/bin
	mkdir -p "$shelf"
	if ! [ -O "$shelf" ]; then
		echo "ci-egress: $shelf is another user's; remove it" >&2
		exit 91
	fi
	part=$(mktemp -d "$shelf/.part.XXXXXX")
	trap 'rm -rf "$part"' EXIT
	tail -c +@OFFSET@ "$0" | tar -xzf - -C "$part" || {
		echo "ci-egress: could not be unpacked into $part; if there is room, this file is damaged: get it again" >&2
		exit 91
	}
	chmod 755 "$part"
	mv -T "$part" "$home" 2>/dev/null || [ -e "$home/bin/python3" ] # another start was quicker
)

case $(PATH=/usr/bin:/bin id -u) in
0) shelf=/var/cache/ci-egress ;;
*) shelf=${XDG_CACHE_HOME:-${HOME:?}/.cache}/ci-egress ;;
esac
home=$shelf/@NAME@
[ -e "$home/bin/python3" ] || unpack
exec "$home/bin/python3" -I "$home/bin/ci-egress" "$0" "$@"
