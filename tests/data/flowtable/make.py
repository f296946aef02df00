#!/usr/bin/env python3
"""Makes the messages of this directory: what the kernel says in a dump of flows that are in a flowtable.

usage: unshare -n ./make.py         with sysctl net.netfilter.nf_conntrack_acct=1 and nf_conntrack_timestamp=1, and nft nat chains, there

Where the kernel has no flowtables they are made from its messages of the same flows outside of one. The difference is in two places of
nf_conntrack_netlink.c and one of nf_flow_table_core.c (Linux 6.18): flow_offload_add() sets IPS_OFFLOAD (0x4000), and IPS_HW_OFFLOAD (0x8000)
where hardware has taken it; ctnetlink_dump_info() then leaves out CTA_TIMEOUT and CTA_PROTOINFO. Everything else of the message stays."""
import os
import socket
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, "..", "..", "interop"))
import ctnetlink as ct  # noqa: E402
from ctnetlink import Tuple  # noqa: E402

STATUS, PROTOINFO, TIMEOUT = 3, 4, 7
OFFLOAD, HW_OFFLOAD = 0x4000, 0x8000
OPEN = ct.be32(STATUS, ct.CONFIRMED | ct.SEEN_REPLY | ct.ASSURED)
FLOWS = [
    ("tcp", socket.AF_INET, Tuple("10.0.0.13", "198.51.100.10", ct.TCP, (1001, 443)), OFFLOAD,
     [ct.tcp(3, (3, 3), (7, 8)), ct.be32(8, 0x2A)]),
    ("tcp-snat", socket.AF_INET, Tuple("10.0.0.13", "198.51.100.10", ct.TCP, (1002, 443)), OFFLOAD | HW_OFFLOAD,
     [ct.tcp(3, (3, 3), (7, 8)), ct.nat(6, "192.0.2.1", 61011)]),
    ("udp6", socket.AF_INET6, Tuple("2001:db8:a::13", "2001:db8:c::10", ct.UDP, (1003, 53)), OFFLOAD, [ct.be16(18, 7)]),
]


def offloaded(message, bits):
    body = b""
    for kind, octets in raw(message[20:]):
        if kind & 0x3FFF == STATUS:
            octets = struct.pack(">I", ct.number(octets) | bits)
        if kind & 0x3FFF not in (TIMEOUT, PROTOINFO):
            body += ct.attr(kind, octets)
    return struct.pack("=I", 20 + len(body)) + message[4:8] + bytes(8) + message[16:20] + body


def raw(octets):
    while len(octets) >= 4:
        length, kind = struct.unpack_from("=HH", octets)
        yield kind, octets[4:length]
        octets = octets[length + 3 & ~3 :]


def dump(kernel):
    """The messages with their headers."""
    kernel.send(ct.CT, ct.GET, ct.DUMP, socket.AF_UNSPEC)
    while True:
        datagram = kernel.socket.recv(1 << 16)
        while len(datagram) >= 16:
            length, kind = struct.unpack_from("=IH", datagram)
            if kind == 3:
                return
            yield datagram[:length]
            datagram = datagram[length + 3 & ~3 :]


def readable(message):
    lines = ["nlmsg length %d type 0x%04x family %d" % (struct.unpack_from("=IH", message) + (message[16],))]
    lines += ["attribute %2d: %s" % (kind & 0x3FFF, octets.hex()) for kind, octets in raw(message[20:])]
    return "\n".join(lines + ["%s: %s" % item for item in ct.entry(message[16:]).items()]) + "\n"


def main():
    kernel = ct.Socket()
    for _, family, original, _, parts in FLOWS:
        kernel.create(family, original.octets(1), original.swapped().octets(2), OPEN, ct.be32(TIMEOUT, 600), *parts)
    messages = {ct.entry(message[16:])["original"]: message for message in dump(kernel)}
    for name, _, original, bits, _ in FLOWS:
        message = offloaded(messages[str(original)], bits)
        with open(os.path.join(HERE, name + ".nlmsg"), "wb") as file:
            file.write(message)
        with open(os.path.join(HERE, name + ".txt"), "w") as file:
            file.write(readable(message))


if __name__ == "__main__":
    main()
