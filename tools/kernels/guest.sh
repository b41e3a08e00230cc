#!/bin/bash
# The first process of the root, in the virtual machine: does what an init does for what is tried here, runs
# /results/job, writes its status beside it, and powers off. The checkout comes as a tar file, on the second disk.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
ln -s /proc/self/fd /dev/fd
mount -t tmpfs -o mode=0755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
hostname guest
ip link set lo up
echo "127.0.0.1 localhost guest" >/etc/hosts
: >/etc/resolv.conf
mkdir -p /src && tar -x -f /dev/vdb -C /src
ln -s /venv /src/.venv
ulimit -n 65536
echo "guest: $(uname -r) is up after $(cut -d ' ' -f 1 /proc/uptime) s"
cd /src || exit
setsid --wait /bin/sh /results/job </dev/null >/results/log 2>&1
echo $? >/results/status
echo "guest: status $(cat /results/status) after $(cut -d ' ' -f 1 /proc/uptime) s"
sync
echo o >/proc/sysrq-trigger
sleep 100
