#!/usr/bin/env python3
"""Flows of protocols for which there are no streams: one packet of the client opens (SCTP: a handshake), then only the server sends.

  raw.py server PROTOCOL 4|6              on the VM: answers whoever speaks, 50 packets a second, for as long as it runs
  raw.py client PROTOCOL 4|6 FILE         on the client: opens, then writes the number of the last packet received into FILE, at each

PROTOCOL: sctp, gre, udplite, or the number of one that connection tracking knows by addresses only. SCTP is spoken as far as
connection tracking looks at it: chunks, verification tags, CRC32c (RFC 9260); the kernel of the ends need not have it.
"""
import os
import select
import socket
import struct
import sys
import time

VM = {4: "10.0.0.13", 6: "2001:db8:a::13"}
CLIENT = {4: "198.51.100.10", 6: "2001:db8:c::10"}
PORT, CLIENT_PORT = 9040, 40040
NUMBERS = {"sctp": 132, "gre": 47, "udplite": 136}
TAGS = {"client": 0x11111111, "server": 0x22222222}
INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK, DATA = 1, 2, 10, 11, 0


def crc32c(octets):
    crc = 0xFFFFFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sctp(source, destination, tag, kind, body=b""):
    chunk = struct.pack("!BBH", kind, 3 if kind == DATA else 0, 4 + len(body)) + body
    chunk += b"\0" * (-len(chunk) % 4)
    head = struct.pack("!HHI", source, destination, tag)
    return head + struct.pack("<I", crc32c(head + b"\0\0\0\0" + chunk)) + chunk


def init(kind, tag, peer_tag):
    body = struct.pack("!IIHHI", tag, 100000, 1, 1, 1)
    if kind == INIT_ACK:
        body += struct.pack("!HHI", 7, 8, 0xC00C1E)  # a state cookie
    return kind, peer_tag, body


class Flow:
    """Packets of a protocol between the two, as numbers."""

    def __init__(self, name, family, side):
        self.name, self.side = name, side
        self.number = NUMBERS.get(name) or int(name)
        inet = socket.AF_INET if family == 4 else socket.AF_INET6
        is_stream = name == "udplite"
        self.sock = socket.socket(inet, socket.SOCK_DGRAM if is_stream else socket.SOCK_RAW, self.number)
        own, peer = (VM, CLIENT) if side == "server" else (CLIENT, VM)
        self.own_port, peer_port = (PORT, CLIENT_PORT) if side == "server" else (CLIENT_PORT, PORT)
        self.sock.bind((own[family], self.own_port if is_stream else 0))
        self.peer, self.peer_port, self.header = (peer[family], peer_port if is_stream else 0), peer_port, 20 if family == 4 else 0
        self.is_stream = is_stream

    def send_raw(self, octets):
        try:
            self.sock.sendto(octets, self.peer)
        except OSError:
            pass  # the link is down while the VM is paused

    def chunk(self, kind, tag, body=b""):
        self.send_raw(sctp(self.own_port, self.peer_port, tag, kind, body))

    def send(self, n):
        payload = struct.pack("!I", n)
        if self.name == "sctp":
            self.chunk(DATA, TAGS["client" if self.side == "server" else "server"], struct.pack("!IHHI", n, 0, n & 0xFFFF, 0) + payload)
        elif self.name == "gre":
            self.send_raw(struct.pack("!HH", 0, 0x88B5) + payload)  # local experimental EtherType
        else:
            self.send_raw(payload)

    def receive(self):
        """(kind, number): kind is None but for SCTP."""
        octets = self.sock.recv(2048)
        if not self.is_stream:
            octets = octets[self.header:]
        if self.name != "sctp":
            return None, struct.unpack("!I", octets[-4:])[0]
        return octets[12], struct.unpack("!I", octets[-4:])[0]


def serve(flow):
    n, is_open = 1, False
    while True:
        if select.select([flow.sock], [], [], 0.02)[0]:
            kind, _ = flow.receive()
            if kind == INIT:
                flow.chunk(*init(INIT_ACK, TAGS["server"], TAGS["client"]))
            elif kind == COOKIE_ECHO:
                flow.chunk(COOKIE_ACK, TAGS["client"])
                is_open = True
            else:
                is_open = True
        elif is_open:
            flow.send(n)
            n += 1


def write(path, n):
    with open(path + ".new", "w", encoding="ascii") as f:
        f.write(f"{n}\n")
    os.rename(path + ".new", path)


def open_sctp(flow):
    for kind, tag, body, answer in ((*init(INIT, TAGS["client"], 0), INIT_ACK), (COOKIE_ECHO, TAGS["server"], struct.pack("!I", 0xC00C1E), COOKIE_ACK)):
        flow.chunk(kind, tag, body)
        if not select.select([flow.sock], [], [], 10)[0] or flow.receive()[0] != answer:
            sys.exit(f"no answer to chunk {kind}")


def main():
    side, name, family = sys.argv[1], sys.argv[2], int(sys.argv[3])
    flow = Flow(name, family, side)
    if side == "server":
        print("listening", flush=True)
        serve(flow)
    if name == "sctp":
        open_sctp(flow)
    else:
        flow.send(0)
    end = time.monotonic() + 300
    while time.monotonic() < end:
        kind, n = flow.receive()
        if kind in (None, DATA):
            write(sys.argv[4], n)


if __name__ == "__main__":
    main()
