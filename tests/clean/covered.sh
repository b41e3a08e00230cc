#!/usr/bin/env bash
# Runs a command that may write to /etc and /usr/local/bin, of which nothing stays: in a mount namespace of its own.
set -euo pipefail

readonly stage=/mnt
mount --make-rprivate /
mount -t tmpfs -o mode=0755 covered "$stage"
for folder in /etc /usr/local/bin; do
    mkdir -p "$stage$folder"/{upper,work}
    mount -t overlay -o "lowerdir=$folder,upperdir=$stage$folder/upper,workdir=$stage$folder/work" covered "$folder"
done
exec "$@"
