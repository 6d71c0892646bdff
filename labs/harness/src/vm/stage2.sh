# Second stage, on the overlay root, as process 1: mounts, modules, the job, its exit status. The busybox at hand is a
# copy in memory, so that none of this waits for the host's files.
here=/run/vipcast-vm
bb=$here/busybox
mkdir() { $bb mkdir -p "$@"; }
mount() { $bb mount "$@"; }

die() {
    echo "vipcast-lab: boot failed: $*" >/dev/console
    echo o >/proc/sysrq-trigger
    $bb sleep 60
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
for link in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
    $bb ln -sf "/proc/self/${link#*:}" "/dev/${link%%:*}"
done

# KERNEL_RELEASE MODULES MODULE_NAMES WRITABLE KEEP_IN_TMP, from the runner
. $here/settings

mkdir "/lib/modules/$KERNEL_RELEASE"
mount --bind "$MODULES" "/lib/modules/$KERNEL_RELEASE" || die "bind of $MODULES"

# The host's /tmp is hidden, apart from the folders in it that the job lives in.
mkdir $here/tmp
mount --bind /tmp $here/tmp
mount -t tmpfs -o mode=1777 tmpfs /tmp
for name in $KEEP_IN_TMP; do
    mkdir "/tmp/$name"
    mount --bind "$here/tmp/$name" "/tmp/$name"
done

share=0
for folder in $WRITABLE; do
    mkdir "$folder"
    mount -t 9p -o trans=virtio,version=9p2000.L,cache=mmap,msize=524288 rw$share "$folder" || die "mount of $folder"
    share=$((share + 1))
done

for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name" && eval "port_$name=/dev/${port##*/}"
done

# Kernels differ in what is a module, so a name that is unknown is no failure; the job says what it misses.
/sbin/modprobe -a -q $MODULE_NAMES
$bb ip link set lo up
$bb hostname vipcast-vm

# Pipes between the job and the ports, since a port can be opened only once, and programs do open /dev/stderr again.
$bb mkfifo $here/out $here/err
$bb cat $here/out >"$port_stdout" &
cat_out=$!
$bb cat $here/err >"$port_stderr" &
cat_err=$!
exec 3>"$port_control"
echo "booted $($bb cut -d' ' -f1 /proc/uptime)" >&3

$bb sh $here/job </dev/null >$here/out 2>$here/err
status=$?

# Daemons that the job left behind hold the pipes open.
($bb sleep 2 && kill $cat_out $cat_err) 2>/dev/null &
wait $cat_out $cat_err
$bb sync
echo "exit $status" >&3
$bb sleep 5
echo o >/proc/sysrq-trigger
$bb sleep 60
