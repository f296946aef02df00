#!/usr/bin/env bash
# firewall-image.sh DIR FILE... [-- PROGRAM...]: makes DIR/initrd-firewall, a guest that is a firewall: image.sh's, and over it, at their own
# paths, PROGRAMs with the shared libraries that they need, FILEs, and the modules of connection tracking and SCTP. Ends as image.sh does.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
shift
"$here/image.sh" "$dir"
files=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    files+=("$1")
    shift
done
[ $# -eq 0 ] || shift
root=$dir/root-firewall
rm -rf "$root"
mkdir -p "$root/modules" "$root/etc"
cp "$here/firewall-init" "$root/init"
chmod 755 "$root/init"
grep -E '^(root|nobody):' /etc/passwd >"$root/etc/passwd"
grep -E '^(root|nogroup):' /etc/group >"$root/etc/group"
printf "127.0.0.1 localhost\n::1 localhost\n" >"$root/etc/hosts"
cp "$dir/root/modules/order" "$root/modules/"
# In the order of what needs what.
for module in libcrc32c nfnetlink nf_defrag_ipv4 nf_defrag_ipv6 nf_conntrack nf_conntrack_netlink nf_nat nf_tables udp_tunnel \
    ip6_udp_tunnel sctp veth; do
    file=$(find "$dir/kernel/lib/modules" -name "$module.ko" | head -n 1)
    [ -n "$file" ] || continue
    cp "$file" "$root/modules/"
    echo "$module.ko" >>"$root/modules/order"
done
grep -q '^sctp.ko$' "$root/modules/order" || { echo "SKIP: the kernel of the guest has no module sctp"; exit 77; }
for program in "$@"; do
    mkdir -p "$root$(dirname "$program")"
    strip -o "$root$program" "$program"
    ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
        [ -e "$root$library" ] || cp -L --parents "$library" "$root"
    done
done
[ ${#files[@]} -eq 0 ] || cp -r --parents "${files[@]}" "$root"
{ cat "$dir/initrd"; (cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1; } >"$dir/initrd-firewall.new"
mv "$dir/initrd-firewall.new" "$dir/initrd-firewall"
