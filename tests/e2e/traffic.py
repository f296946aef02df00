#!/usr/bin/env python3
"""Live TCP transfers with checksums, and what became of them.

  traffic.py server NAME-OF-SIDE            listens on the side's ports until killed
  traffic.py client SIDE CASE COUNT SECONDS RESULTS   COUNT transfers of CASE, one line each into RESULTS

A transfer pushes, pulls or does both at a steady rate; both ends hash what they see. A transfer died when no octet came for
10 s, or on a reset. A result line: CASE NUMBER DIRECTION ok|died|corrupt LONGEST-GAP-MS OCTETS REASON
"""
import hashlib
import os
import socket
import struct
import sys
import threading
import time

RATE = 1_000_000  # octets a second and direction
CHUNK = 10_000
DEAD_AFTER = 10

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
}
PORTS = {"cli": (9000, 9001, 9002), "vm": (9010,)}
SOURCE = {"vm": ("10.0.0.13", "2001:db8:a::13"), "cli": ("198.51.100.10", "2001:db8:c::10")}
DIRECTIONS = ("push", "pull", "both")


def pattern(seed):
    return hashlib.shake_128(struct.pack("!Q", seed)).digest(CHUNK)


def send_all(sock, seed, chunks, out):
    block, digest, start = pattern(seed), hashlib.sha256(), time.monotonic()
    for i in range(chunks):
        wait = start + i * CHUNK / RATE - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        sock.sendall(block)
        digest.update(block)
    out["sent"] = digest.digest()


def receive_all(sock, chunks, out):
    digest, left, gap, last = hashlib.sha256(), chunks * CHUNK, 0.0, time.monotonic()
    while left:
        data = sock.recv(min(left, 65536))
        now = time.monotonic()
        gap, last = max(gap, now - last), now
        if not data:
            raise ConnectionError("closed early")
        digest.update(data)
        left -= len(data)
        out["octets"] = out.get("octets", 0) + len(data)
    out["received"], out["gap"] = digest.digest(), gap


def read_exactly(sock, n):
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise ConnectionError("closed early")
        data += part
    return data


def run_both(sock, seed, chunks, sends, receives, out):
    """Sends in a thread of its own so that both directions move at once."""
    failure = []

    def sender():
        try:
            send_all(sock, seed, chunks, out)
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=sender)
    if sends:
        thread.start()
    if receives:
        receive_all(sock, chunks, out)
    if sends:
        thread.join()
    if failure:
        raise failure[0]


def serve(sock):
    out = {}
    try:
        sock.settimeout(DEAD_AFTER)
        direction, seed, chunks = struct.unpack("!BQI", read_exactly(sock, 13))
        name = DIRECTIONS[direction]
        run_both(sock, seed + 1, chunks, name != "push", name != "pull", out)
        sock.sendall(out.get("received", bytes(32)) + out.get("sent", bytes(32)) + struct.pack("!d", out.get("gap", 0)))
        sock.recv(1)
    except OSError:
        pass
    finally:
        sock.close()


def server(side):
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
        sock.sendall(struct.pack("!BQI", direction, seed, chunks))
        started.release()
        run_both(sock, seed, chunks, name != "pull", name != "push", out)
        answer = read_exactly(sock, 72)
        good = (name == "pull" or answer[:32] == out["sent"]) and (name == "push" or answer[32:64] == out["received"])
        out["gap"] = max(out.get("gap", 0), struct.unpack("!d", answer[64:])[0])
        status = "ok" if good else "corrupt"
    except (OSError, KeyError) as error:
        reason = str(error).replace(" ", "-") or type(error).__name__
        started.release()
    finally:
        sock.close()
    with threading.Lock():
        results.write(f"{case} {number} {name} {status} {int(out.get('gap', 0) * 1000)} {out.get('octets', 0)} {reason}\n")
        results.flush()


def client(case, count, seconds, path):
    chunks = seconds * RATE // CHUNK
    started = threading.Semaphore(0)
    with open(path, "a", encoding="ascii") as results:
        threads = [threading.Thread(target=transfer, args=(case, i, chunks, results, started)) for i in range(count)]
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
        client(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
    os._exit(0)
