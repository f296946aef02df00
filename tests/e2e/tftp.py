#!/usr/bin/env python3
"""A TFTP server (RFC 1350) that answers when it is told to, and a client that does one thing a line.

tftp.py server ADDRESS     a file of one block; a name that begins with / is answered when that file is there
tftp.py client ADDRESS PATH reads lines from stdin, answers each with "NAME ok" or "NAME failed: WHY":
    whole                  a request and its data
    request                only the request, of the name PATH
    data                   the data of that request
"""
import os
import socket
import struct
import sys
import threading
import time

DATA = b"x" * 200
WAIT = 5


def answer(address, peer, name):
    end = time.monotonic() + 60
    while name.startswith("/") and not os.path.exists(name) and time.monotonic() < end:
        time.sleep(0.02)
    data = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    data.bind((address, 0))
    data.settimeout(0.5)
    for _ in range(8):
        data.sendto(struct.pack("!HH", 3, 1) + DATA, peer)
        try:
            if data.recv(600) == struct.pack("!HH", 4, 1):
                return
        except OSError:
            pass


def server(address):
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((address, 69))
    print("listening", flush=True)
    while True:
        request, peer = listener.recvfrom(600)
        name = request[2:].split(b"\0")[0].decode()
        threading.Thread(target=answer, args=(address, peer, name), daemon=True).start()


class Client:
    def __init__(self, address, path):
        self.address, self.path, self.socket = address, path, None

    def ask(self, name):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(WAIT)
        self.socket.sendto(struct.pack("!H", 1) + name.encode() + b"\0octet\0", (self.address, 69))

    def request(self):
        self.ask(self.path)

    def data(self):
        got, peer = self.socket.recvfrom(600)
        if got != struct.pack("!HH", 3, 1) + DATA:
            raise OSError("%d octets, not the file" % len(got))
        self.socket.sendto(struct.pack("!HH", 4, 1), peer)

    def whole(self):
        self.ask("file")
        self.data()


def client(address, path):
    c = Client(address, path)
    print("connected", flush=True)
    for line in sys.stdin:
        name = line.strip()
        try:
            {"whole": c.whole, "request": c.request, "data": c.data}[name]()
            print(name, "ok", flush=True)
        except OSError as error:
            print(name, "failed:", error, flush=True)


{"server": server, "client": client}[sys.argv[1]](*sys.argv[2:])
