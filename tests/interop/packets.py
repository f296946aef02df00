"""packets.py FILE [MANY]: writes a capture of a few conversations (or MANY more), and prints what a flow exporter has to say of each direction of
each: SOURCE PORT DESTINATION PORT PROTOCOL PACKETS OCTETS"""
import ipaddress
import struct
import sys

TCP, UDP = 6, 17
BEGIN = 1795970000000  # milliseconds
CONVERSATIONS = [  # client, port, server, port, protocol, octets of payload that go each way: > from the client, < from the server
    ("10.0.0.13", 40001, "198.51.100.10", 443, TCP, ">0 <0 >0 >100 <1400 <1400 >0"),
    ("10.0.0.14", 40002, "198.51.100.10", 80, TCP, ">0 <0 >0 >10 <20"),
    ("10.0.0.13", 40003, "198.51.100.53", 53, UDP, ">40 <120"),
    ("2001:db8:a::13", 40004, "2001:db8:c::10", 443, TCP, ">0 <0 >0 >300 <700"),
    ("2001:db8:a::14", 40005, "2001:db8:c::53", 53, UDP, ">60 <180"),
]


def checksum(octets):
    total = sum(struct.unpack(">%dH" % (len(octets) // 2), octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source, sport, destination, dport, protocol, length):
    """Ethernet type, octets."""
    data = bytes(length)
    if protocol == TCP:
        upper = struct.pack(">HHIIBBHHH", sport, dport, 1, 1, 5 << 4, 0x18, 65535, 0, 0) + data
    else:
        upper = struct.pack(">HHHH", sport, dport, 8 + length, 0) + data
    a, b = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if a.version == 6:
        return 0x86DD, struct.pack(">IHBB", 6 << 28, len(upper), protocol, 64) + a.packed + b.packed + upper
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(upper), 1, 0, 64, protocol, 0) + a.packed + b.packed
    return 0x0800, head[:10] + struct.pack(">H", checksum(head)) + head[12:] + upper


def main(path, more=0):
    flows, at = {}, BEGIN
    many = [("10.1.%d.1" % (i // 100), 40000 + i, "198.51.100.10", 443, TCP, ">0 <20") for i in range(int(more))]
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for client, cport, server, sport, protocol, exchange in CONVERSATIONS + many:
            for step in exchange.split():
                ends = (client, cport, server, sport) if step[0] == ">" else (server, sport, client, cport)
                kind, octets = packet(*ends, protocol, int(step[1:]))
                frame = bytes(range(2, 14)) + struct.pack(">H", kind) + octets
                out.write(struct.pack("<IIII", at // 1000, at % 1000 * 1000, len(frame), len(frame)) + frame)
                at += 10
                n, total = flows.get(ends + (protocol,), (0, 0))
                flows[ends + (protocol,)] = n + 1, total + len(octets)
    for flow, counts in flows.items():
        print(*flow, *counts)


main(*sys.argv[1:])
