#!/usr/bin/env python3
"""A flow that must not be touched: one octet there and back, again and again.

  live.py server ADDRESS PORT
  live.py client FROM ADDRESS PORT RESULT     writes the number of round trips into RESULT, and why it ended if it did
"""
import os
import socket
import sys
import threading
import time


def echo(sock):
    while True:
        data = sock.recv(64)
        if not data:
            return
        sock.sendall(data)


def main():
    if sys.argv[1] == "server":
        listener = socket.create_server((sys.argv[2], int(sys.argv[3])))
        print("listening", flush=True)
        while True:
            threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
    source, address, port, result = sys.argv[2:6]
    n, why = 0, ""
    sock = socket.create_connection((address, int(port)), timeout=10, source_address=(source, 0))
    while not why:
        try:
            sock.sendall(b"x")
            why = "" if sock.recv(64) else "closed"
            n += 1
        except OSError as error:
            why = str(error)
        with open(result + ".new", "w") as file:
            print(n, why, file=file)
        os.rename(result + ".new", result)
        time.sleep(0.02)


main()
