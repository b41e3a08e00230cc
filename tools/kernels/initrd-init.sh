#!/bin/busybox sh
# The first process: from what was packed with the kernel into the root. busybox's shell finds its own tools by name.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    insmod "$module" || echo "initrd: $module isn't taken"
done
n=0
until [ -b /dev/vda ]; do
    n=$((n + 1))
    [ "$n" -lt 300 ] || { echo "initrd: there is no disk"; poweroff -f; }
    usleep 100000
done
share="trans=virtio,version=9p2000.L,msize=262144"
mount -t ext4 /dev/vda /root &&
    mount -t 9p -o "ro,cache=loose,$share" modules /root/lib/modules &&
    mount -t 9p -o "access=any,$share" results /root/results &&
    mount -o move /dev /root/dev || { echo "initrd: the root can't be reached"; poweroff -f; }
umount /proc /sys
exec switch_root /root /sbin/guest
