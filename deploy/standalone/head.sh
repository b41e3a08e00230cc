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
	[ "$(uname -m)" = @MACHINE@ ] || fail "this file is for @MACHINE@, and this machine is $(uname -m)"
	mkdir -p "$_ci_egress_shelf" || fail "the first start unpacks into $_ci_egress_shelf, which can't be made"
	own "$_ci_egress_shelf"
	# What first starts left that were killed.
	find "$_ci_egress_shelf/" -maxdepth 1 -name '.part.*' -mtime +0 -exec rm -rf {} + 2>/dev/null || :
	part=$(mktemp -d "$_ci_egress_shelf/.part.XXXXXX") ||
		fail "the first start unpacks into $_ci_egress_shelf, which can't be written"
	trap 'rm -rf "$part"' EXIT
	# Without the caller's variables: with TAR_OPTIONS a job would have root run commands, where sudo -E keeps it.
	# -m: a folder that had the archive's time would look like one that is left.
	tail -c +@OFFSET@ "$0" | env -i PATH="$PATH" tar -xzmf - -C "$part" ||
		fail "can't be unpacked into $_ci_egress_shelf: it has no room (120 MB), or this file is damaged, then get it again"
	# Behind the name of this file may be another by now, and then it was that one's archive.
	case $(tail -c +@OFFSET@ "$0" | sha256sum) in
	"${_ci_egress_home##*-}"*) ;;
	*) fail "this file was replaced meanwhile, then start it again; or it is damaged, then get it again" ;;
	esac
	"$part/bin/python3" -I -c "" ||
		fail "its Python doesn't run: either $_ci_egress_shelf is mounted noexec, or this machine's glibc is older than 2.17"
	chmod 755 "$part"
	# Else the folder may have its name, and not yet its files, when the machine loses power.
	sync -f "$part" 2>/dev/null || :
	mv -T "$part" "$_ci_egress_home" 2>/dev/null || [ -e "$_ci_egress_home/bin/python3" ] || # another start was quicker
		fail "$_ci_egress_home isn't whole; remove it"
)

# A folder of another user's, or one that others may write to, could have a program that this user would execute.
own() {
	[ -O "$1" ] || fail "$1 is another user's; remove it"
	case $(/bin/ls -dlL "$1") in
	?????w* | ????????w*) fail "other users may write to $1; remove it" ;;
	esac
}

# COMMAND gets what is set here if the caller exported a variable of that name: hence the long names.
case $(/usr/bin/id -u) in
0) _ci_egress_shelf=/var/lib/ci-egress-standalone ;;
'') fail "/usr/bin/id doesn't say who starts it" ;;
*) _ci_egress_shelf=${XDG_CACHE_HOME:-${HOME:-}/.cache}/ci-egress ;;
esac
# A job could have it unpacked into its own folder.
case $_ci_egress_shelf in
/*) ;;
*) fail "the first start unpacks into $_ci_egress_shelf, which isn't an absolute path; set HOME" ;;
esac
_ci_egress_home=$_ci_egress_shelf/@NAME@
[ -e "$_ci_egress_home/bin/python3" ] || unpack
own "$_ci_egress_shelf"
own "$_ci_egress_home"
exec "$_ci_egress_home/bin/python3" -I "$_ci_egress_home/bin/ci-egress" "$0" "$@"
