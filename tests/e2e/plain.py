"""Plain TCP: `sink PORT FILE` writes down what one connection brings; `send ADDRESS PORT` sends standard input there, as it comes."""
import socket
import sys


def sink(port, path):
    with socket.create_server(("0.0.0.0", int(port))) as server, open(path, "wb") as out:
        print("listening", flush=True)
        connection = server.accept()[0]
        while data := connection.recv(65536):
            out.write(data)
    print("ended", flush=True)


def send(address, port):
    with socket.create_connection((address, int(port))) as connection:
        while data := sys.stdin.buffer.read1(65536):
            connection.sendall(data)


{"sink": sink, "send": send}[sys.argv[1]](*sys.argv[2:])
