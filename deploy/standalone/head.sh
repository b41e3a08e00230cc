#!/bin/sh
# ci-egress @VERSION@ for Linux on @MACHINE@, in one file: behind this script is an archive of all that it needs, a Python
# too. The first start unpacks it, into a folder that only its user can write.
set -eu

fail() {
	echo "ci-egress: $1" >&2
	exit 91
}

unpack() (
	umask 022
	PATH=/usr/sbin:/usr/bin:/sbin:/bin
	mkdir -p "$shelf" || fail "the first start unpacks into $shelf, which can't be made"
	[ -O "$shelf" ] || fail "$shelf is another user's; remove it"
	part=$(mktemp -d "$shelf/.part.XXXXXX") || fail "the first start unpacks into $shelf, which can't be written"
	trap 'rm -rf "$part"' EXIT
	tail -c +@OFFSET@ "$0" | tar -xzf - -C "$part" ||
		fail "can't be unpacked into $shelf: it has no room (120 MB), or this file is damaged, then get it again"
	"$part/bin/python3" -I -c "" ||
		fail "its Python doesn't run: either $shelf is mounted noexec, or this isn't a $machine with glibc"
	chmod 755 "$part"
	mv -T "$part" "$home" 2>/dev/null || [ -e "$home/bin/python3" ] # another start was quicker
)

machine=@MACHINE@
case $(PATH=/usr/bin:/bin id -u) in
0) shelf=/var/cache/ci-egress ;;
*) shelf=${XDG_CACHE_HOME:-${HOME:?}/.cache}/ci-egress ;;
esac
home=$shelf/@NAME@
[ -e "$home/bin/python3" ] || unpack
exec "$home/bin/python3" -I "$home/bin/ci-egress" "$0" "$@"
