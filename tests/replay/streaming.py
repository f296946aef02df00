"""streaming.py SAMI-REPLAY FILE: memory does not grow with the input, and a terminal gets a progress bar. Prints what was measured."""
import os
import pty
import resource
import select
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
with tempfile.NamedTemporaryFile() as big:
    for _ in range(48):
        big.write(sample * ((1 << 20) // len(sample)))
    big.flush()
    seen = bar(big.name)
    if b" [#" not in seen or b" MB" not in seen or not seen.endswith(b"\r\x1b[K"):
        sys.exit("FAIL no progress bar, or it stays: %r" % seen[-200:])
    print("a bar of %d redraws" % seen.count(b" MB"))
