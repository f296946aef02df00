"""SCTP in UDP (RFC 6951) as it went over a link: every DATA chunk is authenticated, and carries a DTLS record (RFC 6083).

usage: sctp-audit.py INTERFACE PORT READY    captures until SIGTERM, then prints what was seen; exit status 1 if a rule is broken. READY is made when
it captures."""
import collections
import signal
import socket
import struct
import sys

DATA, INIT, AUTH, FORWARD_TSN = 0, 1, 15, 0xC0
HANDSHAKES, APPLICATION = (20, 21, 22), 23


def chunks(packet):
    at = 12
    while at + 4 <= len(packet):
        kind, flags, length = struct.unpack_from("!BBH", packet, at)
        if length < 4:
            return
        yield kind, flags, packet[at + 4:at + length]
        at += length + 3 & ~3


def udp_payload(frame, port):
    """The payload of a datagram from or to the port, whole or first fragment."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == 0x0800 and frame[23] == 17:
        at = 14 + (frame[14] & 15) * 4
    elif kind == 0x86DD and frame[20] == 17:
        at = 54
    else:
        return None
    source, target, length = struct.unpack_from("!HHH", frame, at)
    return frame[at + 8:at + length] if port in (source, target) else None


class Audit:
    def __init__(self):
        self.seen = collections.Counter()
        self.faults = collections.Counter()
        self.streams = set()

    def data(self, flags, body, key):
        tsn, stream = struct.unpack_from("!IH", body)
        record = body[12:]
        self.seen["DATA under key %s" % key] += 1
        if key is None:
            self.faults["DATA without AUTH"] += 1
        if not flags & 2 or tsn in self.begun:  # a later fragment, or sent again
            return
        self.begun.add(tsn)
        kind, version, epoch = struct.unpack_from("!BHH", record)
        if kind not in HANDSHAKES and kind != APPLICATION or version >> 8 != 0xFE:
            self.faults["DATA that is no DTLS record"] += 1
        if flags & 1 and len(record) != 13 + struct.unpack_from("!H", record, 11)[0]:
            self.faults["a message that is not one record"] += 1
        if kind == APPLICATION:
            self.seen["application records"] += 1
            self.streams.add(stream)
        if (epoch > 0) != (key == 1):
            self.faults["epoch %d under key %s" % (epoch, key)] += 1

    begun = set()

    def packet(self, packet):
        key = None
        self.seen["packets"] += 1
        for kind, flags, body in chunks(packet):
            if kind == INIT:
                self.seen["associations"] += 1
                self.begun = set()
            elif kind == AUTH:
                key = struct.unpack_from("!H", body)[0]
            elif kind == DATA:
                self.data(flags, body, key)
            elif kind == FORWARD_TSN:
                self.faults["FORWARD TSN: something was given up"] += 1

    def end(self):
        for name, n in sorted(self.seen.items()):
            print("%s: %d" % (name, n))
        if len(self.streams) != 1:
            self.faults["application data on streams %s" % sorted(self.streams)] += 1
        for name in ("DATA under key 0", "DATA under key 1", "associations"):
            if not self.seen[name]:
                self.faults["nothing seen: " + name] += 1
        for name, n in sorted(self.faults.items()):
            print("FAULT %s: %d" % (name, n))
        return 1 if self.faults else 0


def main():
    interface, port, ready = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    audit = Audit()

    def on_end(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_end)
    capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    capture.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    capture.bind((interface, 0))
    open(ready, "w").close()
    try:
        while True:
            packet = udp_payload(capture.recv(65536), port)
            if packet:
                audit.packet(packet)
    except KeyboardInterrupt:
        sys.exit(audit.end())


main()
