#!/usr/bin/env bash
# Runs a command in another root (one made by tools/trixie-root.sh) on this kernel.
#
#   tools/in-root.sh DIR COMMAND…
#
# There it has this machine's /proc, /dev and /sys (cgroup and bpf file systems included), and this
# checkout, read-only, at /src, where it starts. It may write anywhere else: DIR itself stays as it is,
# what was written and every mount end with the command.
set -euo pipefail

if [[ ${IN_ROOT_UNSHARED-} != yes ]]; then
    if (($# < 2)) || [[ ! -d $1 ]]; then
        echo "usage: tools/in-root.sh DIR COMMAND…" >&2
        exit 2
    fi
    exec env IN_ROOT_UNSHARED=yes unshare --mount --propagation private "$BASH" "${BASH_SOURCE[0]}" "$@"
fi
unset IN_ROOT_UNSHARED

lower=$(realpath "$1")
checkout=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
shift

# A mount point that is there and hides nothing; what is mounted on it is this namespace's alone.
readonly stage=$lower/mnt
mount -t tmpfs -o mode=0755 in-root "$stage"
mkdir "$stage"/{upper,work,root}
mount -t overlay -o "lowerdir=$lower,upperdir=$stage/upper,workdir=$stage/work" in-root "$stage/root"
for shared in proc dev sys; do
    mount --rbind "/$shared" "$stage/root/$shared"
done
mkdir -p "$stage/root/src"
mount --bind "$checkout" "$stage/root/src"
mount -o remount,bind,ro "$stage/root/src"
if [[ -e /etc/resolv.conf ]]; then
    cat /etc/resolv.conf >"$stage/root/etc/resolv.conf"
fi

readonly path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec chroot "$stage/root" /usr/bin/env --chdir=/src PATH="$path" "$@"
