"""streaming.py SAMI-REPLAY FILE: memory does not grow with the input, a terminal gets a progress bar, and no record takes longer than its fields. Prints what was
measured."""
import os
import pty
import resource
import select
import struct
import subprocess
import sys
import tempfile

replay, sample = sys.argv[1], open(sys.argv[2], "rb").read()


def peak(octets, *verb):
    """Peak resident kilobytes of the verb over so many octets from a pipe; the child's own, by wait4()."""
    process = subprocess.Popen([replay, *verb, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part = sample * (1 + 65536 // len(sample))
    left = octets
    while left > 0:
        process.stdin.write(part)
        left -= len(part)
    process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 3):
        sys.exit("FAIL %s: status %d" % (verb, status))
    return usage.ru_maxrss


def bar(path):
    """What a terminal sees on standard error."""
    master, slave = pty.openpty()
    process = subprocess.Popen([replay, "validate", "--unsigned", path], stdout=subprocess.DEVNULL, stderr=slave, stdin=subprocess.DEVNULL)
    os.close(slave)
    seen = b""
    while select.select([master], [], [], 60)[0]:
        try:
            octets = os.read(master, 65536)
        except OSError:
            break
        if not octets:
            break
        seen += octets
    process.wait()
    return seen


for verb in (["stats"], ["validate", "--unsigned"], ["dump"]):
    small, large = peak(1 << 20, *verb), peak(64 << 20, *verb)
    print("%s: %d kB for 1 MB, %d kB for 64 MB" % (verb[0], small, large))
    if large > small + 4096:
        sys.exit("FAIL memory grows with the input")
with tempfile.NamedTemporaryFile(prefix="\x1b[2J\u009b2J") as big: # whoever has named it
    for _ in range(48):
        big.write(sample * ((1 << 20) // len(sample)))
    big.flush()
    seen = bar(big.name)
    if b" [#" not in seen or b" MB" not in seen or not seen.endswith(b"\r\x1b[K"):
        sys.exit("FAIL no progress bar, or it stays: %r" % seen[-200:])
    if b"\x1b[2J" in seen or b"\xc2\x9b" in seen:
        sys.exit("FAIL a terminal obeys the name of a file: %r" % seen[:200])
    print("a bar of %d redraws" % seen.count(b" MB"))
    summary = subprocess.run([replay, "validate", "--unsigned", "-q", big.name], capture_output=True, check=False).stdout
    if b"Messages verified" not in summary or b"\x1b" in summary or b"\xc2\x9b" in summary:
        sys.exit("FAIL a terminal obeys the name of a file: %r" % summary[:200])


def message(octets):
    return struct.pack("!HHIII", 10, 16 + len(octets), 0, 0, 1) + octets


def field_set(number, octets):
    return struct.pack("!HH", number, 4 + len(octets)) + octets


# 16000 fields without octets, each twice, and one octet: a Message has as many records as octets. Compared with each other, they take hours.
fields = b"".join(struct.pack("!HH", 1000 + i % 8000, 0) for i in range(16000)) + struct.pack("!HH", 4, 1)
many = message(field_set(2, struct.pack("!HH", 256, 16001) + fields)) + message(field_set(256, b"\x06" * 60000))
told = subprocess.run([replay, "dump", "--json", "-n", "200", "-"], input=many, capture_output=True, check=False).stdout
if told.count(b"\n") != 200 or told.count(b'"id1000":["",""]') != 200:
    sys.exit("FAIL %d lines, of records with %d fields: %r" % (told.count(b"\n"), 16001, told[:200]))
print("%d octets of 200 records with 16001 fields" % len(told))
