#!/usr/bin/env python3
"""A small FTP server, and a client that does one thing a line.

ftp.py server ADDRESS      PASV and PORT, RETR of a fixed file; both address forms of RFC 959, nothing else
ftp.py client ADDRESS      reads lines from stdin, answers each with "NAME ok" or "NAME failed: WHY":
    noop                   the control connection answers
    passive, active        a whole transfer: PASV or PORT, data connection, RETR
    pasv, port             only the announcement
    fetch                  the data connection and RETR for what was announced
    join                   the data connection only, and it stays
"""
import re
import socket
import sys
import threading

FILE = bytes(range(256)) * 400
WAIT = 20  # a control connection; what does not come at all must not hang
DATA_WAIT = 5


def lines_of(sock):
    data = b""
    while True:
        at = data.find(b"\r\n")
        if at >= 0:
            yield data[:at].decode()
            data = data[at + 2:]
            continue
        part = sock.recv(4096)
        if not part:
            return
        data += part


def host_port(text):
    numbers = re.search(r"(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)", text)
    if not numbers:
        raise OSError("no address in " + repr(text))
    n = [int(x) for x in numbers.groups()]
    return ".".join(str(x) for x in n[:4]), n[4] * 256 + n[5]


def announce(listener):
    host, port = listener.getsockname()[:2]
    return "%s,%d,%d" % (host.replace(".", ","), port // 256, port % 256)


def listen(address):
    listener = socket.create_server((address, 0))
    listener.settimeout(DATA_WAIT)
    return listener


def serve(control):
    address = control.getsockname()[0]
    listener = peer = None

    def say(text):
        control.sendall((text + "\r\n").encode())

    say("220 ready")
    for line in lines_of(control):
        verb = line[:4].strip().upper()
        if verb == "PASV":
            listener, peer = listen(address), None
            say("227 Entering Passive Mode (%s)" % announce(listener))
        elif verb == "PORT":
            listener, peer = None, host_port(line)
            say("200 ok")
        elif verb == "RETR":
            say("150 here it comes")
            try:
                if listener:
                    listener.settimeout(WAIT)
                    data = listener.accept()[0]
                else:
                    data = socket.create_connection(peer, DATA_WAIT, (address, 0))
                data.sendall(FILE)
                data.close()
                say("226 done")
            except OSError as error:
                say("425 %s" % error)
            listener = peer = None
        else:
            say("200 ok")


def server(address):
    listener = socket.create_server((address, 21))
    print("listening", flush=True)
    while True:
        control = listener.accept()[0]
        threading.Thread(target=serve, args=(control,), daemon=True).start()


class Client:
    def __init__(self, address):
        self.control = socket.create_connection((address, 21), WAIT)
        self.lines = lines_of(self.control)
        self.listener = self.peer = None
        self.expect("220")
        self.noop()  # the kernel's helper reads what begins behind a line's end that it has seen

    def expect(self, code):
        line = next(self.lines, "the end")
        if not line.startswith(code):
            raise OSError("answered " + repr(line))
        return line

    def ask(self, text, code):
        self.control.sendall((text + "\r\n").encode())
        return self.expect(code)

    def noop(self):
        self.ask("NOOP", "200")

    def pasv(self):
        self.listener, self.peer = None, host_port(self.ask("PASV", "227"))

    def port(self):
        self.listener, self.peer = listen(self.control.getsockname()[0]), None
        self.ask("PORT " + announce(self.listener), "200")

    def fetch(self):
        data = socket.create_connection(self.peer, DATA_WAIT) if self.peer else None
        self.ask("RETR file", "150")
        data = data or self.listener.accept()[0]
        data.settimeout(DATA_WAIT)
        got = b""
        while part := data.recv(65536):
            got += part
        if got != FILE:
            raise OSError("%d octets, not the file" % len(got))
        self.expect("226")

    def join(self):
        self.joined = socket.create_connection(self.peer, DATA_WAIT)

    def passive(self):
        self.pasv()
        self.fetch()

    def active(self):
        self.port()
        self.fetch()


def client(address):
    c = Client(address)
    print("connected", flush=True)
    for line in sys.stdin:
        name = line.strip()
        try:
            {"noop": c.noop, "passive": c.passive, "active": c.active, "pasv": c.pasv, "port": c.port, "fetch": c.fetch,
             "join": c.join}[name]()
            print(name, "ok", flush=True)
        except OSError as error:
            print(name, "failed:", error, flush=True)


{"server": server, "client": client}[sys.argv[1]](*sys.argv[2:])
