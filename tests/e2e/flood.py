#!/usr/bin/env python3
"""Real packets, each of them exactly once: flood.py syn|dns SOURCE DESTINATION COUNT [FIRST-PORT]

syn: a connection attempt each to another port, given up before the kernel says it again. dns: a query for example. each, from a port of its own."""
import socket
import sys


def main():
    kind, source, destination, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    first = int(sys.argv[5]) if len(sys.argv) > 5 else 20000
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    query = bytes.fromhex("000101000001000000000000076578616d706c650000010001")
    for i in range(count):
        with socket.socket(family, socket.SOCK_STREAM if kind == "syn" else socket.SOCK_DGRAM) as s:
            s.bind((source, 0))
            if kind == "dns":
                s.sendto(query, (destination, 53))
                continue
            s.setblocking(False)
            try:
                s.connect((destination, first + i % 20000))
            except BlockingIOError:
                pass


main()
