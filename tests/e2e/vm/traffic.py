#!/usr/bin/env python3
"""The client's side of the VM tests: connections to the guest's echo server, and an echo server for the guest's own.

  traffic.py HERE GUEST COUNT RESULTS

COUNT connections each way. "started" when all of them have moved blocks; after SIGUSR1 ("the VM has moved") each has to move BLOCKS
more. One died when it was reset, closed, or moved no octet for DEAD_AFTER s. A line each in RESULTS:
in|out NUMBER - ok|died|corrupt LONGEST-GAP-MS BLOCKS REASON
"""
import os
import signal
import socket
import struct
import sys
import threading
import time

BLOCK, BLOCKS, DEAD_AFTER, PAUSE = 4096, 100, 10, 0.02
moved = threading.Event()


def pattern(number):
    return struct.pack("!I", number) + bytes([number * 7 % 251]) * (BLOCK - 4)


class Flow(threading.Thread):
    def __init__(self, kind, number, sock):
        super().__init__(daemon=True)
        self.kind, self.number, self.sock = kind, number, sock
        self.blocks, self.gap, self.after, self.status, self.reason = 0, 0.0, 0, None, "-"
        self.last = time.monotonic()

    def receive(self):
        data = b""
        while len(data) < BLOCK:
            part = self.sock.recv(BLOCK - len(data))
            now = time.monotonic()
            self.gap, self.last = max(self.gap, now - self.last), now
            if not part:
                raise ConnectionError("closed")
            data += part
        return data

    def step(self):
        expected = pattern(self.blocks)
        if self.kind == "in":
            time.sleep(PAUSE)
            self.sock.sendall(expected)
        if self.receive() != expected:
            return False
        if self.kind == "out":
            self.sock.sendall(expected)
        self.blocks += 1
        return True

    def run(self):
        self.sock.settimeout(DEAD_AFTER)
        try:
            while self.after < BLOCKS:
                if not self.step():
                    self.status = "corrupt"
                    return
                self.after += moved.is_set()
            self.status = "ok"
        except OSError as error:
            self.status, self.reason = "died", str(error).replace(" ", "-")
            self.gap = max(self.gap, time.monotonic() - self.last)


def main(here, guest, count, results):
    signal.signal(signal.SIGUSR1, lambda *_: moved.set())
    listener = socket.create_server((here, 9000), backlog=64)
    print("listening", flush=True)
    flows = [Flow("out", i, listener.accept()[0]) for i in range(count)]
    for i in range(count):
        sock = socket.create_connection((guest, 9010), timeout=DEAD_AFTER, source_address=(here, 0))
        flows.append(Flow("in", i, sock))
    for flow in flows:
        flow.start()
    while any(flow.blocks < 10 for flow in flows):
        if any(flow.status for flow in flows):
            print("failed: a connection ended before the VM moved", flush=True)
            return 1
        time.sleep(0.05)
    print("started", flush=True)
    while any(flow.status is None for flow in flows):
        time.sleep(0.05)
    with open(results, "w", encoding="ascii") as file:
        for flow in flows:
            file.write(f"{flow.kind} {flow.number} - {flow.status} {int(flow.gap * 1000)} {flow.blocks} {flow.reason}\n")
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
    sys.stdout.flush()
    os._exit(status)
