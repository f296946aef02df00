#!/usr/bin/env python3
"""Live TCP transfers with checksums, and UDP exchanges, and what became of them.

  traffic.py server NAME-OF-SIDE            listens on the side's ports until killed
  traffic.py client CASE COUNT SECONDS RESULTS   COUNT transfers of CASE, one line each into RESULTS
  traffic.py idle CASE COUNT SECONDS RESULTS     the same with connections that say nothing for SECONDS, and then a little

A transfer pushes, pulls or does both at a steady rate, for SECONDS or until there is a file "enough" beside RESULTS; both ends hash what they
see. A transfer died when no octet came for 10 s, or on a reset. On the wire a chunk follows an octet 1; an octet 0 ends a direction, and
the client's ends the server's. A UDP exchange is opened by one datagram of the client; then only the server sends, and datagrams that
the pause has eaten are no fault, but one has to arrive after the end was asked for. A result line:
CASE NUMBER DIRECTION ok|died|corrupt LONGEST-GAP-MS OCTETS REASON
"""
import hashlib
import os
import socket
import struct
import sys
import threading
import time

RATE = int(os.environ.get("RATE", 1_000_000))  # octets a second and direction
CHUNK = 10_000
DEAD_AFTER = 10
ENOUGH = threading.Event()
LOCK = threading.Lock()
IDLE = int(sys.argv[4]) if sys.argv[1:2] == ["idle"] else 0

# case: (side of the client, destination, port)
CASES = {
    "out": ("vm", "198.51.100.10", 9000),
    "in": ("cli", "10.0.0.13", 9010),
    "snat": ("vm", "198.51.100.10", 9001),
    "masquerade": ("vm", "198.51.100.10", 9002),
    "dnat": ("cli", "192.0.2.2", 8080),
    "ipv6-out": ("vm", "2001:db8:c::10", 9000),
    "ipv6-in": ("cli", "2001:db8:a::13", 9010),
    "ipv6-snat": ("vm", "2001:db8:c::10", 9001),
    "x-y": ("vm", "10.0.0.14", 9030),
    "y-x": ("y", "10.0.0.13", 9010),
    "udp": ("cli", "10.0.0.13", 9020),
    "ipv6-udp": ("cli", "2001:db8:a::13", 9020),
}
UDP_PORTS = {"cli": (), "vm": (9020,), "y": ()}
UDP_CHUNK, UDP_RATE = 1000, 50  # octets a datagram, datagrams a second
PORTS = {"cli": (9000, 9001, 9002), "vm": (9010,), "y": (9030,)}
SOURCE = {"y": ("10.0.0.14", "2001:db8:a::14"), "vm": ("10.0.0.13", "2001:db8:a::13"), "cli": ("198.51.100.10", "2001:db8:c::10")}
DIRECTIONS = ("push", "pull", "both")


def pattern(seed):
    return hashlib.shake_128(struct.pack("!Q", seed)).digest(CHUNK)


def send_all(sock, seed, chunks, stop, has_data, out):
    """The chunks at their pace, or nothing for as long; then the end."""
    block, digest, start = pattern(seed), hashlib.sha256(), time.monotonic()
    for i in range(chunks):
        if stop.wait(max(0, start + i * CHUNK / RATE - time.monotonic())):
            break
        if has_data:
            sock.sendall(b"\1" + block)
            digest.update(block)
    sock.sendall(b"\0")
    out["sent"] = digest.digest()


def receive_all(sock, out):
    """Until the other end says that it was all."""
    digest, data, last = hashlib.sha256(), b"", time.monotonic()
    out["gap"] = 0.0
    while data[:1] != b"\0":
        part = sock.recv(65536 if data else 1 + CHUNK)
        now = time.monotonic()
        out["gap"], last = max(out["gap"], now - last), now
        if not part:
            raise ConnectionError("closed early")
        out["octets"] = out.get("octets", 0) + len(part)
        data += part
        while data[:1] == b"\1" and len(data) > CHUNK:
            digest.update(data[1 : 1 + CHUNK])
            data = data[1 + CHUNK :]
    out["received"] = digest.digest()
    return data[1:]


def read_exactly(sock, n, data=b""):
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise ConnectionError("closed early")
        data += part
    return data


class Sender(threading.Thread):
    """So that both directions move at once."""

    def __init__(self, *arguments):
        super().__init__()
        self.arguments, self.failure = arguments, None
        self.start()

    def run(self):
        try:
            send_all(*self.arguments)
        except OSError as error:
            self.failure = error

    def finish(self):
        self.join()
        if self.failure:
            raise self.failure


def serve(sock):
    out, stop = {}, threading.Event()
    try:
        sock.settimeout(600)  # it may say nothing for long
        direction, seed, chunks = struct.unpack("!BQI", read_exactly(sock, 13))
        sender = Sender(sock, seed + 1, chunks, stop, DIRECTIONS[direction] != "push", out)
        receive_all(sock, out)
        stop.set()
        sender.finish()
        sock.sendall(out["received"] + out["sent"] + struct.pack("!d", out["gap"]))
        sock.recv(1)
    except OSError:
        pass
    finally:
        stop.set()
        sock.close()


def datagram(seed, number, count):
    return struct.pack("!QII", seed, number, count) + pattern(seed + number)[: UDP_CHUNK - 16]


def serve_udp(sock, seed, count, client):
    start = time.monotonic()
    for number in range(1, count + 1):
        time.sleep(max(0, start + number / UDP_RATE - time.monotonic()))
        for _ in range(5 if number == count else 1):  # the last one says that it is over
            try:
                sock.sendto(datagram(seed, number, count), client)
            except OSError:
                pass  # the link is down while the VM is moved


def listen_udp(sock):
    while True:
        data, client = sock.recvfrom(65536)
        seed, count = struct.unpack("!QI", data)
        threading.Thread(target=serve_udp, args=(sock, seed, count, client), daemon=True).start()


def exchange(case, number, count, results, started):
    _, host, port = CASES[case]
    status, reason, octets, gap, last = "died", "-", 0, 0.0, time.monotonic()
    seed, family = number * 1000 + port, socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.settimeout(DEAD_AFTER)
            sock.bind((SOURCE[CASES[case][0]][1 if ":" in host else 0], 0))
            sock.connect((host, port))
            sock.send(struct.pack("!QI", seed, count))
            while True:
                data = sock.recv(65536)
                now = time.monotonic()
                gap, last, octets = max(gap, now - last), now, octets + len(data)
                i = struct.unpack("!QII", data[:16])[1]
                if octets == len(data):
                    started.release()
                if data != datagram(seed, i, count):
                    status = "corrupt"
                    break
                if i == count or ENOUGH.is_set():
                    status = "ok"
                    break
        except OSError as error:
            reason = str(error).replace(" ", "-") or type(error).__name__
            if octets == 0:
                started.release()
    results.write(f"{case} {number} pull {status} {int(gap * 1000)} {octets} {reason}\n")
    results.flush()


def server(side):
    for port in UDP_PORTS[side]:
        for source in SOURCE[side]:
            sock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((source, port))
            threading.Thread(target=listen_udp, args=(sock,), daemon=True).start()
    for port in PORTS[side]:
        for source in SOURCE[side]:
            family = socket.AF_INET6 if ":" in source else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((source, port))
            listener.listen(512)

            def accept(listener=listener):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

            threading.Thread(target=accept, daemon=True).start()
    print("listening", flush=True)
    threading.Event().wait()


def transfer(case, number, chunks, results, started):
    _, host, port = CASES[case]
    direction = number % 3
    name, out, status, reason = DIRECTIONS[direction], {}, "died", "-"
    seed = number * 1000 + port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(DEAD_AFTER)
        side = CASES[case][0]
        sock.bind((SOURCE[side][1 if ":" in host else 0], 0))
        sock.connect((host, port))
        if IDLE:
            started.release()
            ENOUGH.wait(IDLE)
        sock.sendall(struct.pack("!BQI", direction, seed, chunks))
        started.release()
        stop = threading.Event() if IDLE else ENOUGH
        arguments = (sock, seed, chunks, stop, name != "pull", out)
        if name == "push":  # no octet comes: only what cannot be sent tells of a death
            send_all(*arguments)
            rest = receive_all(sock, out)
            out["gap"] = 0
        else:
            sender = Sender(*arguments)
            rest = receive_all(sock, out)
            sender.finish()
        answer = read_exactly(sock, 72, rest)
        good = answer[:32] == out["sent"] and answer[32:64] == out["received"]
        if name != "pull":  # its other end gets no data, and waits for nothing but the end
            out["gap"] = max(out["gap"], struct.unpack("!d", answer[64:])[0])
        status = "ok" if good else "corrupt"
    except (OSError, KeyError) as error:
        reason = str(error).replace(" ", "-") or type(error).__name__
        started.release()
    finally:
        sock.close()
    with LOCK:
        results.write(f"{case} {number} {name} {status} {int(out.get('gap', 0) * 1000)} {out.get('octets', 0)} {reason}\n")
        results.flush()


def watch(path):
    while not os.path.exists(path):
        time.sleep(0.05)
    ENOUGH.set()


def client(case, count, seconds, path):
    threading.Thread(target=watch, args=(os.path.join(os.path.dirname(path), "enough"),), daemon=True).start()
    is_udp = case.endswith("udp")
    chunks = seconds * UDP_RATE if is_udp else seconds * RATE // CHUNK
    run, started = exchange if is_udp else transfer, threading.Semaphore(0)
    with open(path, "a", encoding="ascii") as results:
        threads = [threading.Thread(target=run, args=(case, i, chunks, results, started)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            started.acquire()
        print("started", flush=True)
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server(sys.argv[2])
    else:
        client(sys.argv[2], int(sys.argv[3]), 1 if IDLE else int(sys.argv[4]), sys.argv[5])
    os._exit(0)
