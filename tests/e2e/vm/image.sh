#!/usr/bin/env bash
# image.sh DIR: makes DIR/vmlinuz and DIR/initrd, a guest of Debian's cloud kernel, busybox and guest.c. The kernel is only unpacked, never
# installed. Prints the reason and ends with 77 where something is missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
exec 9>"$dir/lock" # several tests may want it at once
flock 9
skip() { echo "SKIP: $*"; exit 77; }
[ -s "$dir/initrd" ] && [ "$dir/initrd" -nt "$here/guest.c" ] && [ "$dir/initrd" -nt "$here/init" ] && exit 0
[ -x /bin/busybox ] || skip "no busybox (package busybox-static)"
mkdir -p "$dir/kernel"
if ! compgen -G "$dir/kernel/boot/vmlinuz-*" >/dev/null; then
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
    [ -n "$package" ] || skip "apt knows no linux-image-cloud-amd64"
    (cd "$dir" && apt-get download -q "$package" >download.log 2>&1) || skip "$package cannot be downloaded: $(tail -n 1 "$dir/download.log")"
    dpkg-deb -x "$dir/$package"_*.deb "$dir/kernel"
    rm -f "$dir/$package"_*.deb
fi
cp "$dir"/kernel/boot/vmlinuz-* "$dir/vmlinuz"
root=$dir/root
rm -rf "$root"
mkdir -p "$root"/{bin,dev,proc,sys,modules}
cp /bin/busybox "$root/bin/busybox"
cp "$here/init" "$root/init"
chmod 755 "$root/init"
gcc -static -O2 -o "$root/bin/guest" "$here/guest.c"
# In the order of what needs what; one that a kernel has built in is not there.
for module in failover net_failover virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_net; do
    file=$(find "$dir/kernel/lib/modules" -name "$module.ko" | head -n 1)
    [ -n "$file" ] || continue
    cp "$file" "$root/modules/"
    echo "$module.ko" >>"$root/modules/order"
done
(cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$dir/initrd.new"
mv "$dir/initrd.new" "$dir/initrd"
