"""A collector without a mind: sink.py tcp|udp HOST PORT FILE keeps what comes. TCP: one connection a file (FILE, FILE.1, ...), until it is ended."""
import socket
import sys

kind, host, port, path = sys.argv[1:]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
server = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
server.bind((host, int(port)))
if kind == "tcp":
    server.listen()
print("listening", flush=True)
if kind == "udp":
    with open(path, "wb", buffering=0) as out:
        while True:
            octets = server.recv(65535)
            out.write(octets)
            print("datagram", len(octets), flush=True)
for n in range(1000):
    connection, _ = server.accept()
    with open(path + (".%d" % n if n else ""), "wb") as out:
        while octets := connection.recv(65536):
            out.write(octets)
    connection.close()
    print("connection", n, flush=True)
