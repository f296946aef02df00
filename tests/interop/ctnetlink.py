"""Connection tracking over raw netlink: what the tests ask of the kernel is independent of our own code and of everybody else's.

Builds and reads messages of net/netfilter/nf_conntrack_netlink.c (numbers of include/uapi/linux/netfilter/nfnetlink_conntrack.h).
An entry is a dictionary of names and plain values; a name is there only if the kernel gave the attribute."""
import ipaddress
import os
import socket
import struct
import time

NETFILTER, CT, EXP = 12, 1, 2
NEW, GET, DELETE = 0, 1, 2
REQUEST, ACK, DUMP, EXCL, CREATE = 1, 4, 0x300, 0x200, 0x400
TCP, UDP, ICMP, ICMPV6, SCTP, GRE, UDPLITE = 6, 17, 1, 58, 132, 47, 136
ORIG, REPLY = 1, 2

# enum ip_conntrack_status
SEEN_REPLY, ASSURED, CONFIRMED, SRC_NAT, DST_NAT, FIXED_TIMEOUT, HELPER = 2, 4, 8, 0x10, 0x20, 0x400, 0x2000
EXPECTED, SRC_NAT_DONE, DST_NAT_DONE, SEQ_ADJUST = 1, 0x80, 0x100, 0x40


def attr(kind, octets):
    return struct.pack("=HH", len(octets) + 4, kind) + octets + bytes(-len(octets) % 4)


def nest(kind, *children):
    return attr(kind | 0x8000, b"".join(children))


def be32(kind, value):
    return attr(kind, struct.pack(">I", value & 0xFFFFFFFF))


def be16(kind, value):
    return attr(kind, struct.pack(">H", value))


def u8(kind, value):
    return attr(kind, bytes([value]))


def text(kind, value):
    return attr(kind, value.encode() + b"\0")


def attributes(octets):
    """{type: octets}"""
    found, at = {}, 0
    while at + 4 <= len(octets):
        length, kind = struct.unpack_from("=HH", octets, at)
        if length < 4 or at + length > len(octets):
            raise ValueError("an attribute is cut off")
        found[kind & 0x3FFF] = octets[at + 4 : at + length]
        at += length + 3 & ~3
    return found


def number(octets):
    return int.from_bytes(octets, "big")


class Tuple:
    """One direction. `l4` is (sport, dport), for ICMP (id, type, code), or () for protocols without ports."""

    def __init__(self, src, dst, protocol, l4=(), zone=None):
        self.src, self.dst, self.protocol, self.l4, self.zone = src, dst, protocol, tuple(l4), zone

    def swapped(self):
        answers = {(ICMP, 8): 0, (ICMP, 13): 14, (ICMPV6, 128): 129}
        if self.protocol in (ICMP, ICMPV6):
            l4 = (self.l4[0], answers[self.protocol, self.l4[1]], self.l4[2])
        else:
            l4 = self.l4[::-1]
        return Tuple(self.dst, self.src, self.protocol, l4)

    def octets(self, kind):
        src, dst = ipaddress.ip_address(self.src), ipaddress.ip_address(self.dst)
        first = 1 if src.version == 4 else 3
        ip = nest(1, attr(first, src.packed), attr(first + 1, dst.packed))
        l4 = [u8(1, self.protocol)]
        if self.protocol in (ICMP, ICMPV6):
            base = 4 if self.protocol == ICMP else 7
            l4 += [be16(base, self.l4[0]), u8(base + 1, self.l4[1]), u8(base + 2, self.l4[2])]
        elif self.l4:
            l4 += [be16(2, self.l4[0]), be16(3, self.l4[1])]
        zone = [be16(3, self.zone)] if self.zone is not None else []
        return nest(kind, ip, nest(2, *l4), *zone)

    @staticmethod
    def read(octets):
        found = attributes(octets)
        ip, l4 = attributes(found.get(1, b"")), attributes(found.get(2, b""))
        addresses = [str(ipaddress.ip_address(ip[kind])) for kind in sorted(ip)]
        protocol = number(l4.get(1, b""))
        ports = [number(l4[kind]) for kind in sorted(l4) if kind != 1]
        zone = number(found[3]) if 3 in found else None
        return Tuple(*(addresses + ["", ""])[:2], protocol, ports, zone)

    def __str__(self):
        return "%s > %s protocol %d %s" % (self.src, self.dst, self.protocol, "/".join(map(str, self.l4)))


def nat(kind, address, port=None):
    """CTA_NAT_SRC or CTA_NAT_DST: exactly this address, and this port."""
    address = ipaddress.ip_address(address)
    low, high = (1, 2) if address.version == 4 else (4, 5)
    parts = [attr(low, address.packed), attr(high, address.packed)]
    if port is not None:
        parts.append(nest(3, be16(1, port), be16(2, port)))
    return nest(kind, *parts)


def tcp(state, flags=(0, 0), wscale=None):
    parts = [u8(1, state)]
    if wscale:
        parts += [u8(2, wscale[0]), u8(3, wscale[1])]
    return nest(4, nest(1, *parts, attr(4, bytes([flags[0], 0xFF])), attr(5, bytes([flags[1], 0xFF]))))


def sctp(state, orig_tag, reply_tag):
    return nest(4, nest(3, u8(1, state), be32(2, orig_tag), be32(3, reply_tag)))


class Socket:
    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.settimeout(20)
        self.sequence = int(time.time())

    def send(self, subsystem, message, flags, family, payload=b""):
        self.sequence += 1
        body = bytes([family, 0, 0, 0]) + payload
        self.socket.send(struct.pack("=IHHII", 16 + len(body), subsystem << 8 | message, flags | REQUEST, self.sequence, 0) + body)

    def answers(self):
        """(type, payload) of each message of the answer; OSError when the kernel refuses."""
        while True:
            datagram = self.socket.recv(1 << 16)
            while len(datagram) >= 16:
                length, kind, _, sequence, _ = struct.unpack_from("=IHHII", datagram)
                payload, datagram = datagram[16:length], datagram[length + 3 & ~3 :]
                if sequence != self.sequence:
                    continue
                if kind == 3:
                    return
                if kind == 2:
                    code = -struct.unpack_from("=i", payload)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                yield kind, payload

    def ask(self, subsystem, message, flags, family, payload):
        self.send(subsystem, message, flags | ACK, family, payload)
        list(self.answers())

    def create(self, family, *parts):
        self.ask(CT, NEW, CREATE | EXCL, family, b"".join(parts))

    def expect(self, family, *parts):
        self.ask(EXP, NEW, CREATE | EXCL, family, b"".join(parts))

    def entries(self):
        self.send(CT, GET, DUMP, socket.AF_UNSPEC)
        return [entry(payload) for _, payload in self.answers()]

    def expectations(self):
        self.send(EXP, GET, DUMP, socket.AF_UNSPEC)
        return [expectation(payload) for _, payload in self.answers()]


def pair(found, names, e, prefix):
    for kind, name in names.items():
        if kind in found:
            e[prefix + name] = number(found[kind])


def direction(e, name, octets):
    t = Tuple.read(octets)
    e[name] = str(t)
    if t.zone is not None:
        e[name + " zone"] = t.zone


def protocol_info(octets, e):
    info = attributes(octets)
    if 1 in info:
        found = attributes(info[1])
        pair(found, {1: "state", 2: "wscale original", 3: "wscale reply"}, e, "tcp ")
        for kind, name in ((4, "original"), (5, "reply")):
            if kind in found:
                e["tcp flags " + name] = found[kind][0]
    if 3 in info:
        pair(attributes(info[3]), {1: "state", 2: "tag original", 3: "tag reply"}, e, "sctp ")


def entry(payload):
    """What CT_NEW of a dump says."""
    found = attributes(payload[4:])
    e = {"family": payload[0]}
    direction(e, "original", found[1])
    direction(e, "reply", found[2])
    pair(found, {3: "status", 7: "timeout", 8: "mark", 11: "use", 12: "id", 18: "zone"}, e, "")
    if 4 in found:
        protocol_info(found[4], e)
    if 5 in found:
        helper = attributes(found[5])
        e["helper"] = helper[1].rstrip(b"\0").decode()
        if 2 in helper:
            e["helper info"] = helper[2].hex()
    for kind, name in ((9, "original"), (10, "reply")):
        if kind in found:
            pair(attributes(found[kind]), {1: "packets " + name, 2: "octets " + name}, e, "")
    if 14 in found:
        e["master"] = str(Tuple.read(found[14]))
    for kind, name in ((15, "original"), (16, "reply")):
        if kind in found:
            adjust = attributes(found[kind])
            e["sequence " + name] = "/".join(str(number(adjust[k])) for k in sorted(adjust))
    if 19 in found:
        e["security context"] = attributes(found[19])[1].rstrip(b"\0").decode()
    if 20 in found:
        stamp = attributes(found[20])
        if 1 in stamp:
            e["start"] = number(stamp[1])
    if 22 in found:
        e["labels"] = found[22].hex()
    if 24 in found:
        pair(attributes(found[24]), {1: "isn", 2: "its", 3: "offset"}, e, "synproxy ")
    return e


def expectation(payload):
    found = attributes(payload[4:])
    e = {"family": payload[0]}
    for kind, name in ((1, "master"), (2, "tuple"), (3, "mask")):
        e[name] = str(Tuple.read(found[kind]))
    pair(found, {4: "timeout", 5: "id", 7: "zone", 8: "flags", 9: "class"}, e, "")
    if 6 in found:
        e["helper"] = found[6].rstrip(b"\0").decode()
    if 10 in found:
        translation = attributes(found[10])
        e["translation"] = "%d: %s" % (number(translation[1]), Tuple.read(translation[2]))
    if 11 in found:
        e["function"] = found[11].rstrip(b"\0").decode()
    return e
