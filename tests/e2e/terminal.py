#!/usr/bin/env python3
"""Runs a command on a terminal of its own.

  terminal.py OUTPUT [--key-after WORD] COMMAND...    OUTPUT gets all that it prints; Ctrl-C is typed when WORD has appeared

Ends with the command's exit status.
"""
import os
import pty
import sys


def main(output, word, command):
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    seen = b""
    with open(output, "wb", buffering=0) as file:
        while True:
            try:
                data = os.read(fd, 65536)
            except OSError:  # EIO: the other side is closed
                data = b""
            if not data:
                break
            file.write(data)
            seen += data
            if word and word in seen:
                os.write(fd, b"\x03")
                word = None
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    arguments = sys.argv[2:]
    key_word = None
    if arguments[0] == "--key-after":
        key_word, arguments = arguments[1].encode(), arguments[2:]
    sys.exit(main(sys.argv[1], key_word, arguments))
