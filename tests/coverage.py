#!/usr/bin/env python3
"""coverage.py SOURCE JSON: what gcov counted, by room and by file; and the lines that refuse something and never ran, those of
tests/coverage.exceptions apart."""
import collections
import json
import os
import re
import sys

ROOMS = ["common", "templates", "transport", "firewall", "exporter", "collector", "replay", "ctl"]
JUDGED = ["templates", "collector", "transport"]  # issue: a line that refuses and is not tested may be one that does not refuse
REFUSAL = re.compile(r"SAMI_REASON_(?!NONE\b)|SAMI_RECEIVE_BAD|_refuse\(|g_set_error|\b(wrong|stop|malformed|refuse|disbelieve)\(")


def read(source, path):
    """{file: {line: [count, branches taken, branches]}}, of all objects together."""
    files = collections.defaultdict(dict)
    with open(path) as stream:
        for text in stream:
            if not text.startswith("{"):
                continue
            counted = json.loads(text)
            for one in counted["files"]:
                name = os.path.relpath(os.path.join(counted["current_working_directory"], one["file"]), source)
                if name.split("/")[0] not in ROOMS:
                    continue
                for line in one["lines"]:
                    branches = [b["count"] for b in line["branches"] if not b["throw"]]
                    had = files[name].setdefault(line["line_number"], [0, [0] * len(branches)])
                    had[0] += line["count"]
                    if len(had[1]) == len(branches):  # of an inline function each user has its own
                        had[1] = [a + b for a, b in zip(had[1], branches)]
    return files


def read_exceptions(source):
    """[[file, piece of a line, reason, lines found]]; a piece that ends in $ is the end of its line."""
    rows = []
    with open(os.path.join(source, "tests/coverage.exceptions")) as stream:
        for text in stream:
            if text.strip() and not text.startswith("#"):
                rows.append([part.strip() for part in text.split(" | ", 2)] + [0])
    return rows


def find_exception(rows, name, text):
    for row in rows:
        if row[0] == name and (text.endswith(row[1][:-1]) if row[1].endswith("$") else row[1] in text):
            row[3] += 1
            return row[2]
    return None


def figures(lines):
    n, ran = len(lines), sum(1 for count, _ in lines.values() if count)
    branches = sum(len(b) for _, b in lines.values())
    taken = sum(1 for _, b in lines.values() for count in b if count)
    return n, ran, branches, taken


def row(name, sums):
    n, ran, branches, taken = sums
    return f"{name:36} {n:7} {100 * ran / max(n, 1):6.1f} % {branches:9} {100 * taken / max(branches, 1):6.1f} %"


def main():
    source, path = sys.argv[1:]
    files = read(source, path)
    if not files:
        sys.exit("coverage.py: gcov has counted nothing")
    head = f"{'':36} {'lines':>7} {'ran':>8} {'branches':>9} {'taken':>8}"
    rooms = {room: [0, 0, 0, 0] for room in ROOMS}
    for name, lines in files.items():
        room = rooms[name.split("/")[0]]
        for i, value in enumerate(figures(lines)):
            room[i] += value
    print(head)
    for room in ROOMS:
        print(row(room + "/", rooms[room]))
    print(row("the three that judge a peer", [sum(rooms[room][i] for room in JUDGED) for i in range(4)]))
    print(row("all", [sum(rooms[room][i] for room in ROOMS) for i in range(4)]))
    print("\n" + head)
    judged = sorted((name for name in files if name.split("/")[0] in JUDGED), key=lambda name: figures(files[name])[1] / len(files[name]))
    for name in judged:
        print(row(name, figures(files[name])))
    never, partly, excepted = [], [], []
    exceptions = read_exceptions(source)
    for name in sorted(judged):
        with open(os.path.join(source, name)) as stream:
            texts = stream.read().split("\n")
        for number, (count, branches) in sorted(files[name].items()):
            text = texts[number - 1].strip()
            if not REFUSAL.search(text) or "GError **error" in text:  # the head of a function
                continue
            if not count:
                reason = find_exception(exceptions, name, text)
                if reason:
                    excepted.append(f"{name}:{number}: {reason}")
                else:
                    never.append(f"{name}:{number}: {text}")
            elif 0 in branches:
                partly.append(f"{name}:{number}: {text}")
    print(f"\nLines that refuse, and never ran: {len(never)}", *never, sep="\n")
    print(f"\nLines that refuse, and that no test here can run (tests/coverage.exceptions): {len(excepted)}", *excepted, sep="\n")
    for name, piece, _, n in exceptions:
        if not n:
            print(f"tests/coverage.exceptions: {name}: '{piece}' has run, or is not there any more")
    print(f"\nLines that refuse, of which a branch was never taken: {len(partly)}", *partly, sep="\n")


main()
