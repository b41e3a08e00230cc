#!/bin/busybox sh
# shellcheck shell=dash
# The first process: it leads from the file system that was packed with the kernel into the root. Once there is /proc,
# busybox's shell finds its own tools by name.
/bin/busybox mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

give_up() {
    echo "initrd: $1"
    echo o >/proc/sysrq-trigger
    sleep 100
}

for module in /modules/*.ko; do
    insmod "$module" || echo "initrd: $module isn't taken"
done
n=0
until [ -b /dev/vda ]; do
    n=$((n + 1))
    [ "$n" -lt 300 ] || give_up "there is no disk"
    usleep 100000
done
share="trans=virtio,version=9p2000.L,msize=262144"
mount -t ext4 /dev/vda /root || give_up "the root can't be reached"
mount -t 9p -o "ro,cache=loose,$share" modules /root/lib/modules || give_up "modules can't be reached"
mount -t 9p -o "access=any,$share" results /root/results || give_up "nowhere to put results"
mount -o move /dev /root/dev
umount /sys
umount /proc
exec /bin/busybox switch_root /root /sbin/guest
