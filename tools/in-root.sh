#!/usr/bin/env bash
# Runs a command in another root (one made by tools/debian-root.sh) on this kernel.
#
#   tools/in-root.sh [--keep FOLDER] [--cache FOLDER] DIR COMMAND…
#
# In the root, the command has this machine's /proc, /dev and /sys (cgroup and bpf file systems included), its way to
# the network and to the packages' registries, and this checkout, read-only, at /src, where it starts. It may write
# anywhere else. DIR itself stays as it is, and every mount ends with the command. Written files end with it, too, unless
# --keep keeps them in FOLDER, where the next command with the same FOLDER finds them. The FOLDER of --cache is root's
# ~/.cache in the root, and the place where apt keeps packages that it fetched.
set -euo pipefail

if [[ ${IN_ROOT_UNSHARED-} != yes ]]; then
    exec env IN_ROOT_UNSHARED=yes unshare --mount --propagation private "$BASH" "${BASH_SOURCE[0]}" "$@"
fi
unset IN_ROOT_UNSHARED

kept=
cache=
while [[ ${1-} == --@(keep|cache) ]]; do
    case $1 in
    --keep) kept=$(realpath "$2") ;;
    --cache) cache=$(realpath "$2") ;;
    esac
    shift 2
done
if (($# < 2)) || [[ ! -d $1 ]]; then
    echo "usage: tools/in-root.sh [--keep FOLDER] [--cache FOLDER] DIR COMMAND…" >&2
    exit 2
fi
lower=$(realpath "$1")
checkout=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
shift

# What a root needs to reach what this machine reaches: names, apt's and pip's own settings, authorities.
hand_in_network_settings() {
    local path
    for path in /etc/resolv.conf /etc/hosts /etc/pip.conf; do
        [[ ! -e $path ]] || cat "$path" >"$root$path"
    done
    apt-config dump Acquire >"$root/etc/apt/apt.conf.d/90in-root" 2>/dev/null || true
    for path in /etc/apt/auth.conf /etc/apt/auth.conf.d /usr/local/share/ca-certificates; do
        [[ ! -e $path ]] || cp -rT "$path" "$root$path"
    done
}

# A mount point that is there and hides nothing; what is mounted on it is this namespace's alone.
readonly stage=$lower/mnt
mount -t tmpfs -o mode=0755 in-root "$stage"
written=${kept:-$stage}
root=$stage/root
mkdir -p "$written"/{upper,work,tmp} "$root"
# None of these files has to outlive a crash of this machine, so nothing waits for a disk.
rm -rf "$written/work"/*
mount -t overlay -o "volatile,lowerdir=$lower,upperdir=$written/upper,workdir=$written/work" in-root "$root"
for shared in proc dev sys; do
    mount --rbind "/$shared" "$root/$shared"
done
# An overlay can't be written to by another one, and what runs here may make roots of its own, in /tmp.
chmod 1777 "$written/tmp"
mount --bind "$written/tmp" "$root/tmp"
if [[ $cache ]]; then
    mkdir -p "$cache"/{home,apt/partial} "$root/root/.cache"
    mount --bind "$cache/home" "$root/root/.cache"
    mount --bind "$cache/apt" "$root/var/cache/apt/archives"
fi
mkdir -p "$root/src"
mount --bind "$checkout" "$root/src"
mount -o remount,bind,ro "$root/src"
hand_in_network_settings

# Not chroot: with it, the kernel would still report paths from the root of the mount namespace.
cd "$root"
pivot_root . .
umount --lazy .
readonly path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec /usr/bin/env --chdir=/src PATH="$path" "$@"
