#!/usr/bin/env python3
"""QEMU's monitor for one client, as far as migrations go: monitor.py SOCKET [paused] < STATUSES

Greets, answers every command, and sends a MIGRATION event for each line of its input; STOP and RESUME are events of their own, and ENDLESS is 64 MiB without
the end of a line. The VM runs
when the client comes, or is paused. Prints the commands that it was sent."""
import json
import os
import socket
import sys
import threading


def answer(connection):
    for line in connection.makefile("r", encoding="utf-8"):
        command = json.loads(line)
        print(command["execute"], json.dumps(command.get("arguments", {})), flush=True)
        result = {}
        if command["execute"] == "query-status":
            paused = sys.argv[2:] == ["paused"]
            result = {"status": "paused" if paused else "running", "singlestep": False, "running": not paused}
        connection.sendall(json.dumps({"return": result}).encode() + b"\r\n")


with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen(1)
    client = listener.accept()[0]
    client.sendall(b'{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}\r\n')
    threading.Thread(target=answer, args=(client,), daemon=True).start()
    for status in sys.stdin:
        if status == "ENDLESS\n":  # a line
            try:
                for _ in range(64):
                    client.sendall(b"x" * (1 << 20))
            except OSError:
                print("ENDLESS cut", flush=True)
            break
        event = {"timestamp": {"seconds": 1, "microseconds": 2}, "event": status.strip()}
        if not status.isupper():
            event.update(event="MIGRATION", data={"status": status.strip()})
        client.sendall(json.dumps(event).encode() + b"\r\n")
os._exit(0)
