#!/bin/busybox sh
# First stage, in the RAM disk: make the host's files the root (read-only, with memory laid over them), go there.
export PATH=/bin
/bin/busybox --install -s /bin

die() {
    echo "vipcast-lab: boot failed: $*" >/dev/console
    echo o >/proc/sysrq-trigger
    sleep 60
}

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in /modules/*; do
    insmod "$module" || die "insmod $module"
done
mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,ro,msize=524288 host /lower || die "mount of the host's files"
mount -t tmpfs -o mode=755 tmpfs /upper
mkdir /upper/files /upper/work
mount -t overlay overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work /new || die "overlay"

mount -t tmpfs -o mode=755 tmpfs /new/run || die "tmpfs on /run"
mkdir /new/run/vipcast-vm
cp /bin/busybox /stage2 /settings /job /new/run/vipcast-vm/
umount /sys /proc
exec switch_root /new /run/vipcast-vm/busybox sh /run/vipcast-vm/stage2
