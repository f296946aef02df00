#!/usr/bin/env python3
"""Connections opened and closed at a steady rate, each with a life of its own, and what a move did to them.

  churn.py server SIDE                          listens until killed
  churn.py client SIDE RATE SECONDS LOG         RATE connections a second for SECONDS; LOG gets a line each when all have ended
  churn.py judge SIDE LOG TABLE LAST FREEZE RESUME   against firewall 2's table (sami-table print) right after the move and when all
                                                     have ended; times since 1970

A connection lives for 50 ms to some seconds. Twenty times a second it asks and is answered; a fifth of them end with a reset, the others
with FIN from the client. No port is used twice. A line: PORT OPENED ESTABLISHED CLOSED ok|refused|lost REASON. Lost: no answer for 10 s, or an end
that nobody here asked for.
"""
import asyncio
import contextlib
import os
import random
import socket
import struct
import sys
import time

PORTS = {"cli": 9003, "vm": 9011}
ADDRESS = {"vm": "10.0.0.13", "cli": "198.51.100.10"}
FIRST_PORT = 20000
DEAD_AFTER = 10
PERIOD = 0.05


async def serve(reader, writer):
    try:
        while data := await reader.read(64):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def server(side):
    listener = await asyncio.start_server(serve, ADDRESS[side], PORTS[side], backlog=4096)
    print("listening", flush=True)
    async with listener:
        await listener.serve_forever()


async def live(side, port, life, lines):
    other = "vm" if side == "cli" else "cli"
    opened, established, status, reason, writer = time.time(), 0.0, "ok", "-", None
    try:
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(ADDRESS[other], PORTS[other], local_addr=(ADDRESS[side], port)), 30)
        established = time.time()
        end, number = time.monotonic() + life, 0
        while number == 0 or time.monotonic() < end:
            question = struct.pack("!II", port, number)
            writer.write(question)
            if await asyncio.wait_for(reader.readexactly(8), DEAD_AFTER) != question:
                raise OSError("another answer")
            number += 1
            await asyncio.sleep(min(PERIOD, max(0.0, end - time.monotonic())))
        if port % 5 == 0:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            writer.write_eof()
            if await asyncio.wait_for(reader.read(1), DEAD_AFTER):
                raise OSError("more than was asked for")
    except (OSError, EOFError, asyncio.TimeoutError) as error:
        status, reason = "lost" if established else "refused", (str(error) or type(error).__name__).replace(" ", "-")
    if writer: # the socket is closed, and a reset sent, in a later turn of the loop
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    lines.append(f"{port} {opened:.6f} {established:.6f} {time.time():.6f} {status} {reason}\n")


async def client(side, rate, seconds, path):
    lines, tasks, start, random_life = [], set(), time.monotonic(), random.Random(4740)
    count = min(rate * seconds, 60000 - FIRST_PORT)
    for i in range(count):
        if (wait := start + i / rate - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        tasks.add(task := asyncio.create_task(live(side, FIRST_PORT + i, min(0.05 + random_life.expovariate(1.0), 6.0), lines)))
        task.add_done_callback(tasks.discard)
        if i == rate:
            print("started", flush=True)
    while tasks:
        await asyncio.wait(set(tasks))
    with open(path, "w", encoding="ascii") as log:
        log.writelines(lines)


def read_table(side, path):
    """Port of the one who opened: state and remaining time."""
    entries = {}
    with open(path, encoding="ascii") as table:
        for line in table:
            words = line.split()
            if " state " in line and words[words.index("dport") + 1] == str(PORTS["vm" if side == "cli" else "cli"]):
                entries[int(words[words.index("sport") + 1])] = (int(words[words.index("state") + 1]), int(words[-1]))
    return entries


def judge(side, path, table_path, last_path, freeze, resume):
    states, last = read_table(side, table_path), read_table(side, last_path)
    opened = carried = closed = later = 0
    bad = []
    with open(path, encoding="ascii") as log:
        for line in log:
            port, _, established, ended, status, reason = line.split()
            port, established, ended = int(port), float(established), float(ended)
            opened += 1
            state = states.get(port, (0, 0))[0]
            # A reset that was sent to or by a VM without a link is seen by no firewall.
            is_unseen = port % 5 == 0 and freeze - 1 <= ended <= resume + 1
            if last.get(port, (0, 0))[0] == 3 and last[port][1] > 300 and status == "ok" and not is_unseen:
                bad.append(f"ended, and ESTABLISHED for {last[port][1]} s: {line.strip()}")
            if established == 0 or established >= freeze:
                later += 1
                if status == "lost":
                    bad.append(f"lost after the move: {line.strip()}")
                continue
            if ended < freeze:
                closed += 1
                if status == "ok" and 1 <= state <= 3:
                    bad.append(f"resurrected as state {state}: {line.strip()}")
            else:
                carried += 1
            if status != "ok":
                bad.append(f"lost: {line.strip()}")
    lost = sum(1 for text in bad if text.startswith("lost"))
    for text in bad[:10]:
        print(text)
    print(f"opened={opened} closed_before={closed} carried={carried} later={later} lost={lost} resurrected={len(bad) - lost} "
          f"blackout_ms={int((resume - freeze) * 1000)}")
    return 0 if not bad and carried and closed and later else 1


if __name__ == "__main__":
    if sys.argv[1] == "server":
        asyncio.run(server(sys.argv[2]))
    elif sys.argv[1] == "client":
        asyncio.run(client(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
    else:
        sys.exit(judge(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5], float(sys.argv[6]), float(sys.argv[7])))
    os._exit(0)
