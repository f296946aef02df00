#!/usr/bin/env python3
"""A monitor of QEMU, for scripts.

  qmp.py SOCKET migrate URI    starts a migration; a line for what happens: status …, stop, then completed DOWNTIME-MS TOTAL-MS or failed
  qmp.py SOCKET wait running   returns when the VM runs
"""
import json
import socket
import sys
import time


class Monitor:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.file = self.socket.makefile("r", encoding="utf-8")
        self.events = []
        self.read()
        self.call("qmp_capabilities")

    def read(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("QEMU has ended")
        return json.loads(line)

    def call(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(answer["error"]["desc"])
            else:
                return answer["return"]


def say(text):
    print(text, flush=True)


def migrate(monitor, uri):
    monitor.call("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    monitor.call("migrate", uri=uri)
    while True:
        for event in monitor.events or [monitor.read()]:
            status = event.get("data", {}).get("status")
            if event.get("event") == "STOP":
                say("stop")
            elif event.get("event") == "MIGRATION" and status not in ("completed", "failed", "cancelled"):
                say("status " + status)
            elif event.get("event") == "MIGRATION":
                result = monitor.call("query-migrate")
                while status == "completed" and not result.get("total-time"):  # filled after the event
                    time.sleep(0.02)
                    result = monitor.call("query-migrate")
                if status == "completed":
                    say(f"completed {result.get('downtime')} {result.get('total-time')}")
                else:
                    say("failed " + result.get("error-desc", status))
                return status != "completed"
        monitor.events = []


def wait(monitor, status):
    end = time.monotonic() + 60
    while monitor.call("query-status")["status"] != status:
        if time.monotonic() > end:
            say("is " + monitor.call("query-status")["status"])
            return True
        time.sleep(0.05)
    return False


if __name__ == "__main__":
    sys.exit({"migrate": migrate, "wait": wait}[sys.argv[2]](Monitor(sys.argv[1]), sys.argv[3]))
