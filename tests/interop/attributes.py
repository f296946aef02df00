#!/usr/bin/env python3
"""What of a connection tracking entry arrives at another firewall: the table attribute x verdict of sami-protocol(7).

CASES is the one place that says which entries are made; each names the rows that are judged by it. All verdicts come from what two kernels
say, read by raw netlink, besides the reasons, which SAMI's daemons give, and `informational`, which is looked up in the journal.

    create PHASE              makes the entries of a phase in this network namespace
    names PHASE               a line each: case, address of the VM
    read                      prints the tables of this namespace as JSON
    packet SIDE SEQ ACK LEN   sends a segment of `live` from the VM or the client
    lenient                   exit status 0 while the entry of `live` is lenient here
    judge ...                 verdicts as JSON lines
    table VERSIONS FILE...    the table as text, under a line of what it was measured with
    compare TABLE FILE COLUMN does the column of TABLE say what was measured in FILE?
"""
import argparse
import json
import os
import re
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ctnetlink as ct  # noqa: E402
import journal  # noqa: E402
from ctnetlink import GRE, ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE, Tuple  # noqa: E402

CLIENT = {4: "198.51.100.10", 6: "2001:db8:c::10"}
PUBLIC = {4: "192.0.2.77", 6: "2001:db8:f::77"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
DCCP, ESP, OSPF = 33, 50, 89
LIVE_PORT = 1443
EXPECTATION_S = 200  # a new one has its helper's own, 300 for FTP, whatever the request says; only an update sets it (ctnetlink_change_expect)
LABELS = bytes.fromhex("0a000000000000000000000000000080")
OPEN = ct.SEEN_REPLY | ct.ASSURED
TCP_STATES = "SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE SYN_SENT2".split()
SCTP_STATES = "CLOSED COOKIE_WAIT COOKIE_ECHOED ESTABLISHED SHUTDOWN_SENT SHUTDOWN_RECD SHUTDOWN_ACK_SENT HEARTBEAT_SENT".split()


class Row:
    """One row of the table: the values `names` of an entry, of numbers only the bits of `mask`.

    default        what an entry has that never got the attribute: with it there, the attribute is lost, with anything else changed. A source that
                   has it proves nothing, so the row is none
    needs          nor does a source where this is 0
    of             entry or expectation
    is_whole       the row stands for all of the entry: one that SAMI calls degraded is
    is_own         every kernel has one of its own and takes none back
    informational  the elements that tell it
    after          judged when packets have gone through the destination"""

    def __init__(self, title, *names, mask=None, default=None, of="entry", informational=(), after=False,
                 needs=None, is_own=False, is_whole=False):
        self.title, self.names, self.mask, self.default, self.of = title, names, mask, default, of
        self.informational, self.after, self.needs, self.is_own, self.is_whole = informational, after, needs, is_own, is_whole

    def value(self, e):
        values = [e.get(name) for name in self.names]
        if self.mask is not None:
            values = [v & self.mask if v is not None else None for v in values]
        return values

    def is_none(self, values):
        return all(v is None or v == self.default for v in values)


def proto(title):
    return Row(title, "original", "reply", is_whole=True)


def status(title, bit):
    return Row(title, "status", mask=bit, default=0)


def translation(title):
    return Row(title, "reply", "translated", needs="translated")


# In the order of the table.
ROWS = {
    "tcp": proto("TCP"),
    "udp": proto("UDP"),
    "udplite": proto("UDP-Lite"),
    "icmp": proto("ICMP"),
    "icmpv6": proto("ICMPv6"),
    "sctp": proto("SCTP"),
    "gre": proto("GRE, with its keys"),
    "generic": proto("other protocols (ESP, OSPF)"),
    "dccp": proto("DCCP (no tracker in this kernel)"),
    "tcp-state": Row("TCP state, each of the nine", "tcp state"),
    "tcp-flags": Row("TCP flags: window scale, SACK, close", "tcp flags original", "tcp flags reply", mask=0x07, default=0),
    "tcp-wscale": Row("TCP window scale, both directions", "tcp wscale original", "tcp wscale reply", default=0),
    "tcp-lenient": Row("TCP flag lenient", "tcp flags original", "tcp flags reply", mask=0x08, default=0),
    "tcp-strict": Row("TCP flag lenient off, once packets went both ways", "tcp flags original", "tcp flags reply", mask=0x08, after=True,
                      needs="packets reply"),
    "sctp-state": Row("SCTP state, each of the eight", "sctp state"),
    "sctp-tags": Row("SCTP verification tags, both directions", "sctp tag original", "sctp tag reply", default=0),
    "seen-reply": status("status SEEN_REPLY", ct.SEEN_REPLY),
    "assured": status("status ASSURED", ct.ASSURED),
    "fixed-timeout": status("status FIXED_TIMEOUT", ct.FIXED_TIMEOUT),
    "timeout": Row("timeout", "timeout"),
    "mark": Row("mark", "mark", default=0),
    "labels": Row("labels, a rule there uses labels", "labels", default="00" * 16),
    "labels-without": Row("labels, no rule there uses labels", "labels", default="00" * 16),
    "zone": Row("zone", "zone", "original zone", "reply zone"),
    "zone-original": Row("zone of the original direction only", "zone", "original zone", "reply zone"),
    "zone-reply": Row("zone of the reply direction only", "zone", "original zone", "reply zone"),
    "snat": translation("source NAT, address and port"),
    "dnat": translation("destination NAT, address and port"),
    "snat-dnat": translation("source and destination NAT, both ports"),
    "snat-icmp": translation("source NAT of ICMP, with its identifier"),
    "sequence": Row("sequence adjustment, both directions", "sequence original", "sequence reply"),
    "synproxy": Row("synproxy: sequence, timestamp, offset", "synproxy isn", "synproxy its", "synproxy offset", default=0),
    "helper": Row("helper", "helper"),
    "helper-info": Row("helper info", "helper info"),
    "master": Row("master of a related flow", "master"),
    "expected": status("status EXPECTED of a related flow", ct.EXPECTED),
    "expectation": Row("expectation: tuple, mask, class, flags, helper", "master", "tuple", "mask", "class", "flags", "helper", "zone",
                       of="expectation"),
    "expectation-timeout": Row("expectation: timeout", "timeout", of="expectation"),
    "expectation-nat": Row("expectation: translation and its function", "translation", "function", of="expectation"),
    "counters": Row("counters", "packets original", "octets original", "packets reply", "octets reply", default=0,
                    is_own=True, informational=((0, 86), (0, 85), (29305, 86), (29305, 85))),
    "start": Row("start time", "start", is_own=True, informational=((0, 152),)),
    "id": Row("id", "id", is_own=True, informational=((0, 148),)),
    "use": Row("use count (of a master)", "use", is_own=True, default=1),
    "security-context": Row("security context", "security context", is_own=True, informational=("ctSecurityContext",)),
}


class Case:
    """An entry of a VM of its own, made in `phase`: 1, no rule of the destination uses labels; 2, one does. `more` is what is made with it, behind it."""

    def __init__(self, name, rows, family=4, protocol=TCP, l4=(1000, 443), inbound=False, status=OPEN, timeout=600, info=None, parts=(),
                 nat=None, zone=None, zones=(None, None), phase=1, related=None, expect=None):
        self.name, self.rows, self.family, self.protocol, self.l4, self.inbound = name, rows.split(), family, protocol, l4, inbound
        self.status, self.timeout, self.parts, self.nat, self.zone, self.zones = status, timeout, parts, nat, zone, zones
        self.info = info if info is not None else ct.tcp(3, (3, 3), (7, 8)) if protocol == TCP else b""
        self.phase, self.related, self.expect = phase, related, expect
        self.vm = None

    def original(self):
        ends = (CLIENT[self.family], self.vm) if self.inbound else (self.vm, CLIENT[self.family])
        if self.nat and "to" in self.nat:
            ends = (ends[0], self.nat["to"][0])
        return Tuple(*ends, self.protocol, self.l4, self.zones[0])

    def entries(self):
        """(name, parts) of each entry; the second one is the related flow."""
        original = self.original()
        reply = original.swapped()
        reply.zone = self.zones[1]
        parts = [original.octets(1), reply.octets(2), ct.be32(3, self.status | ct.CONFIRMED), ct.be32(7, self.timeout), self.info, *self.parts]
        if self.zone is not None:
            parts.append(ct.be16(18, self.zone))
        if self.nat and "from" in self.nat:
            parts.append(ct.nat(6, *self.nat["from"]))
        if self.nat and "to" in self.nat:
            parts.append(ct.nat(13, self.vm, self.nat["to"][1]))
        yield "entry", parts
        if self.related:
            child = self.child()
            yield "related", [child.octets(1), child.swapped().octets(2), original.octets(14), ct.be32(3, OPEN | ct.CONFIRMED), ct.be32(7, 500),
                              ct.tcp(3, (3, 3), (7, 8))]

    def child(self):
        return Tuple(CLIENT[self.family], self.vm, TCP, self.related)

    def expectation(self):
        """Of an active FTP transfer: from the server to a port of the client, or of its translated address."""
        towards = PUBLIC[self.family] if self.nat else self.vm
        t = Tuple(CLIENT[self.family], towards, TCP, (0, self.expect))
        anything = "0.0.0.0" if self.family == 4 else "::"
        everything = "255.255.255.255" if self.family == 4 else "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        mask = Tuple(everything, everything, TCP, (0, 0xFFFF))
        parts = [self.original().octets(1), t.octets(2), mask.octets(3)]
        if self.nat:
            saved = Tuple(self.vm, anything, TCP, (self.expect - 1000, 0))
            parts += [ct.nest(10, ct.be32(1, 1), saved.octets(2)), ct.text(11, "nat-follow-master")]
        return parts


def helper(name):
    return ct.nest(5, ct.text(1, name))


def adjust(kind, position, before, after):
    return ct.nest(kind, ct.be32(1, position), ct.be32(2, before), ct.be32(3, after))


def cases():
    found = [
        Case("tcp", "tcp tcp-flags tcp-wscale seen-reply assured timeout"),
        Case("tcp-in", "tcp tcp-wscale", inbound=True),
        Case("tcp6", "tcp tcp-flags tcp-wscale seen-reply assured timeout", family=6),
        Case("udp", "udp seen-reply assured timeout", protocol=UDP),
        Case("udp-unanswered", "udp timeout", protocol=UDP, status=0),
        Case("udp6", "udp seen-reply assured timeout", family=6, protocol=UDP),
        Case("udplite", "udplite seen-reply timeout", protocol=UDPLITE),
        Case("udplite6", "udplite", family=6, protocol=UDPLITE),
        Case("icmp", "icmp seen-reply timeout", protocol=ICMP, l4=(77, 8, 0), status=ct.SEEN_REPLY),
        Case("icmpv6", "icmpv6 seen-reply timeout", family=6, protocol=ICMPV6, l4=(77, 128, 0), status=ct.SEEN_REPLY),
        Case("sctp", "sctp sctp-tags seen-reply assured timeout", protocol=SCTP, info=ct.sctp(4, 0x11223344, 0x55667788)),
        Case("sctp6", "sctp sctp-tags", family=6, protocol=SCTP, info=ct.sctp(4, 0x11223344, 0x55667788)),
        Case("gre", "gre seen-reply assured timeout", protocol=GRE, l4=(0x1234, 0x5678)),
        Case("gre6", "gre", family=6, protocol=GRE, l4=(0x1234, 0x5678)),
        Case("esp", "generic seen-reply assured timeout", protocol=ESP, l4=()),
        Case("esp6", "generic", family=6, protocol=ESP, l4=()),
        Case("ospf", "generic", protocol=OSPF, l4=()),
        Case("dccp", "dccp", protocol=DCCP, l4=()),
        Case("close", "tcp-flags", info=ct.tcp(4, (7, 3), (7, 8))),
        Case("no-sack", "tcp-flags tcp-wscale", info=ct.tcp(3, (1, 1), (0, 14))),
        Case("lenient", "tcp-lenient", info=ct.tcp(3, (0x0B, 0x0B), (7, 8))),
        Case("live", "tcp-strict counters", l4=(LIVE_PORT, 443)),
        Case("fixed-timeout", "fixed-timeout timeout", protocol=UDP, status=OPEN | ct.FIXED_TIMEOUT),
        Case("mark", "mark", parts=(ct.be32(8, 0x12345678),)),
        Case("mark6", "mark", family=6, parts=(ct.be32(8, 0x12345678),)),
        Case("labels", "labels", parts=(ct.attr(22, LABELS),), phase=2),
        Case("labels6", "labels", family=6, parts=(ct.attr(22, LABELS),), phase=2),
        Case("labels-without", "labels-without", parts=(ct.attr(22, LABELS),)),
        Case("zone", "zone", zone=7),
        Case("zone6", "zone", family=6, zone=7),
        Case("zone-original", "zone-original", zones=(8, None)),
        Case("zone-reply", "zone-reply", zones=(None, 8)),
        Case("snat", "snat", nat={"from": (PUBLIC[4], 61011)}),
        Case("snat-same-port", "snat", nat={"from": (PUBLIC[4], 1000)}),
        Case("snat-udp", "snat", protocol=UDP, nat={"from": (PUBLIC[4], 61012)}),
        Case("snat-sctp", "snat", protocol=SCTP, info=ct.sctp(4, 1, 2), nat={"from": (PUBLIC[4], 61013)}),
        Case("snat6", "snat", family=6, nat={"from": (PUBLIC[6], 61011)}),
        Case("dnat", "dnat", inbound=True, l4=(1234, 443), nat={"to": (PUBLIC[4], 8443)}),
        Case("dnat6", "dnat", family=6, inbound=True, l4=(1234, 443), nat={"to": (PUBLIC[6], 8443)}),
        Case("snat-dnat", "snat-dnat", inbound=True, l4=(1235, 443), nat={"to": (PUBLIC[4], 8443), "from": ("192.0.2.78", 61014)}),
        Case("snat-dnat6", "snat-dnat", family=6, inbound=True, l4=(1235, 443),
             nat={"to": (PUBLIC[6], 8443), "from": ("2001:db8:f::78", 61014)}),
        Case("snat-icmp", "snat-icmp", protocol=ICMP, l4=(78, 8, 0), status=ct.SEEN_REPLY, nat={"from": (PUBLIC[4], 4711)}),
        Case("sequence", "sequence", parts=(adjust(15, 1000, -4, 12), adjust(16, 2000, 3, 7))),
        Case("sequence6", "sequence", family=6, parts=(adjust(15, 1000, -4, 12), adjust(16, 2000, 3, 7))),
        Case("synproxy", "synproxy", parts=(ct.nest(24, ct.be32(1, 0xDEADBEEF), ct.be32(2, 11), ct.be32(3, 22)),)),
        Case("synproxy6", "synproxy", family=6, parts=(ct.nest(24, ct.be32(1, 0xDEADBEEF), ct.be32(2, 11), ct.be32(3, 22)),)),
        Case("ftp", "helper helper-info", l4=(1000, 21), parts=(helper("ftp"),)),
        Case("ftp6", "helper", family=6, l4=(1000, 21), parts=(helper("ftp"),)),
        Case("tftp", "helper", protocol=UDP, l4=(1000, 69), parts=(helper("tftp"),)),
        Case("sip", "helper", protocol=UDP, l4=(5060, 5060), parts=(helper("sip"),)),
        Case("irc", "helper", l4=(1000, 6667), parts=(helper("irc"),)),
        Case("pptp", "helper", l4=(1000, 1723), parts=(helper("pptp"),)),
        Case("expectation", "expectation expectation-timeout", l4=(1000, 21), parts=(helper("ftp"),), expect=40002),
        Case("expectation6", "expectation expectation-timeout", family=6, l4=(1000, 21), parts=(helper("ftp"),), expect=40002),
        Case("expectation-nat", "expectation expectation-nat", l4=(1000, 21), parts=(helper("ftp"),), expect=40003,
             nat={"from": (PUBLIC[4], 61015)}),
        Case("informational", "start id security-context"),
    ]
    for number in range(5):  # several, for which of a pair is dumped first is chance
        found.append(Case("related-%d" % (2 * number), "master expected use", l4=(1000, 21), parts=(helper("ftp"),), related=(20, 40001)))
        found.append(Case("related-%d" % (2 * number + 1), "master expected use", family=6, l4=(1000, 21), parts=(helper("ftp"),), related=(20, 40001)))
    for number, name in enumerate(TCP_STATES, 1):
        found.append(Case("tcp-" + name, "tcp-state timeout", info=ct.tcp(number, (3, 3), (7, 8)), status=0 if number in (1, 9) else OPEN,
                          timeout=250 if 4 <= number <= 8 else 600))  # no kernel keeps a closing one longer than 300 s
    for number, name in enumerate(SCTP_STATES, 1):
        found.append(Case("sctp-" + name, "sctp-state", protocol=SCTP, info=ct.sctp(number, 1, 2)))
    for i, case in enumerate(found):
        case.vm = "10.0.0.%d" % (20 + i) if case.family == 4 else "2001:db8:a::%d" % (20 + i)
        if case.name == "live":
            case.vm = "10.0.0.13"
    return found


def complain(*words):
    print("attributes:", *words, file=sys.stderr)


# ---- the kernel ----


def create(phase):
    """An attribute that this kernel does not take is said, and no error: its rows are then judged from what the kernel has."""
    kernel = ct.Socket()
    for case in cases():
        if case.phase != phase:
            continue
        try:
            for _, parts in case.entries():
                kernel.create(FAMILY[case.family], *parts)
            if case.expect:
                kernel.expect(FAMILY[case.family], *case.expectation())
                kernel.ask(ct.EXP, ct.NEW, 0, FAMILY[case.family], b"".join([*case.expectation(), ct.be32(4, EXPECTATION_S)]))
        except OSError as error:
            complain("%s: %s" % (case.name, error.strerror))


def read():
    kernel = ct.Socket()
    entries = kernel.entries()
    expectations = kernel.expectations()
    json.dump({"time": time.time(), "entries": entries, "expectations": expectations}, sys.stdout)


def lenient():
    live = [case for case in cases() if case.name == "live"][0]
    for e in ct.Socket().entries():
        if e["original"] == str(live.original()):
            return (e["tcp flags original"] | e["tcp flags reply"]) & 8 != 0
    return False


def checksum(octets):
    total = sum(struct.unpack(">%dH" % (len(octets) // 2), octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(side, sequence, acknowledged, length):
    """A segment of `live`, from the VM or from the client, as neither end's stack has the connection."""
    live = [case for case in cases() if case.name == "live"][0]
    ends = [(live.vm, LIVE_PORT), (CLIENT[4], 443)]
    (src, sport), (dst, dport) = ends if side == "vm" else ends[::-1]
    src, dst = socket.inet_aton(src), socket.inet_aton(dst)
    data = bytes(length)
    segment = bytearray(struct.pack(">HHIIBBHHH", sport, dport, sequence, acknowledged, 5 << 4, 0x10, 500, 0, 0) + data)
    segment[16:18] = struct.pack(">H", checksum(src + dst + struct.pack(">HH", TCP, len(segment)) + bytes(segment)))
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 1, 0, 64, TCP, 0, src, dst)
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    out.sendto(header + bytes(segment), (socket.inet_ntoa(dst), 0))


# ---- verdicts ----

# From best to worst; a row that several cases have is as good as the worst of them.
VERDICTS = ("exact", "informational", "degraded", "changed", "not carried", "lost", "refused", "missing")


def find(table, tuple_text):
    """The flow by its original tuple: the zone is an attribute that may have changed on the way."""
    for e in table["entries"]:
        if e["original"] == tuple_text:
            return e
    return None


def with_derived(e):
    """What the kernel really translates, and not only its tuples say: the bits that NAT sets when it has been set up."""
    if e:
        e = dict(e, translated=e["status"] & (ct.SRC_NAT | ct.DST_NAT | ct.SRC_NAT_DONE | ct.DST_NAT_DONE))
    return e


def subject(case, key, table):
    row = ROWS[key]
    if row.of == "expectation":
        master = str(case.original())
        found = [x for x in table["expectations"] if x["master"] == master]
        return found[0] if found else None
    original = case.child() if key in ("master", "expected") else case.original()
    return with_derived(find(table, str(original)))


class Sami:
    """What the daemons say of a case: its migration's counts, and the journal."""

    def __init__(self, results, journals, registry):
        self.results, self.journals = results, journals
        self.numbers = {}
        for record in registry.split("<record>")[1:]:
            part = lambda tag: record.split("<" + tag + ">")[1].split("<")[0]  # noqa: E731
            self.numbers[part("name")] = (int(part("cert:enterpriseId")), int(part("elementId")))

    def migration(self, case):
        with open(os.path.join(self.results, case.name)) as lines:
            return json.loads(lines.read().strip().splitlines()[-1])

    def reasons(self, case, what):
        return ",".join(sorted(self.migration(case).get("counts", {}).get(what, {})))

    def record_has(self, case, row, values):
        """Does a record of the flow carry the values? Times are milliseconds there."""
        wanted = [self.numbers.get(element) if isinstance(element, str) else element for element in row.informational]
        if not wanted or None in wanted:
            return False
        if row.names == ("start",):
            values = [values[0] // 1000000]
        name = self.migration(case)["id"]
        source = ipaddress_octets(case.original().src)
        for file in os.listdir(self.journals):
            if not file.endswith(name + ".ipfix"):
                continue
            with open(os.path.join(self.journals, file), "rb") as octets:
                for record in journal.records(octets.read()):
                    if source not in (record.get((0, 8)), record.get((0, 27))):
                        continue
                    found = [record.get(element) for element in wanted]
                    if None not in found and all(same(*pair) for pair in zip(found, values)):
                        return True
        return False


def ipaddress_octets(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def same(octets, value):
    return octets.rstrip(b"\0").decode() == value if isinstance(value, str) else ct.number(octets) == value


def is_equal(row, source, there, elapsed):
    if row.names == ("timeout",):
        # Whole seconds are cut off at each reading; the time of an expectation is not set right again at the end as that of an entry is.
        return there[0] is not None and abs(source[0] - there[0] - elapsed) <= (2 if row.of == "entry" else 5)
    return source == there


def judge(case, key, source, there, sami):
    """(verdict, detail)"""
    row = ROWS[key]
    had, have = subject(case, key, source), subject(case, key, there)
    values = row.value(had) if had else None
    if values is None or row.is_none(values) or (row.needs and not had.get(row.needs)):
        return "none", "the source's kernel does not have it"
    found = row.value(have) if have else None
    if found and is_equal(row, values, found, there["time"] - source["time"]):
        if sami and row.is_whole and sami.reasons(case, "degraded"):
            return "degraded", sami.reasons(case, "degraded")
        return "exact", ""
    if sami and row.informational and sami.record_has(case, row, values):
        return "informational", ""
    detail = "%s became %s" % (values, found)
    if sami and have is None and sami.reasons(case, "refused"):
        return "refused", sami.reasons(case, "refused")
    if sami and have and sami.reasons(case, "degraded"):
        return "degraded", sami.reasons(case, "degraded")
    if have is None and row.of == "entry":
        return "missing", detail
    if row.is_own:
        return "not carried", detail
    return "lost" if found is None or row.is_none(found) else "changed", detail


def judge_all(arguments):
    sami = None
    if arguments.results:
        with open(arguments.registry) as registry:
            sami = Sami(arguments.results, arguments.journals, registry.read())
    tables = {}
    for name in ("source", "there", "after"):
        with open(getattr(arguments, name)) as table:
            tables[name] = json.load(table)
    for case in cases():
        if case.phase != arguments.phase:
            continue
        for key in case.rows:
            there = tables["after" if ROWS[key].after else "there"]
            verdict, detail = judge(case, key, tables["source"], there, sami)
            print(json.dumps({"column": arguments.column, "row": ROWS[key].title, "case": case.name, "verdict": verdict, "detail": detail}))


# ---- the table ----

COLUMNS = {"sami": "SAMI", "conntrackd": "conntrackd", "load-file": "conntrack --load-file"}


def load(files):
    """{column: {row: cell}}"""
    lines = []
    for name in files:
        with open(name) as file:
            lines += [json.loads(line) for line in file]
    by_row = {}
    for line in lines:
        by_row.setdefault(line["column"], {}).setdefault(line["row"], []).append(line)
    return {column: {row: cell(found) for row, found in rows.items()} for column, rows in by_row.items()}


def cell(lines):
    """The worst verdict; whose it is, if it is not that of all. Cases whose names differ by a number only are one."""
    judged = [line for line in lines if line["verdict"] != "none"]
    if not judged:
        return "not in this kernel"
    worst = max((line["verdict"] for line in judged), key=VERDICTS.index)
    of = [line for line in judged if line["verdict"] == worst]
    words = worst
    if worst in ("degraded", "refused"):
        words += " (%s)" % ",".join(sorted({line["detail"] for line in of}))
    alike = [list(dict.fromkeys(re.sub(r"-\d+$", "", line["case"]) for line in some)) for some in (judged, of)]
    if len(alike[1]) < len(alike[0]):
        words += ": " + " ".join(alike[1]) if len(alike[1]) <= 3 else ": %d of %d" % (len(alike[1]), len(alike[0]))
    return words


def table(versions, files):
    columns = load(files)
    print("Linux %s%s" % (kernel_version(), ", " + versions if versions else ""))
    width = 2 + max(len(row.title) for row in ROWS.values())
    lines = [["attribute"] + [COLUMNS[c] for c in columns]]
    lines += [[row.title] + [columns[c].get(row.title, "?") for c in columns] for row in ROWS.values()]
    for i in range(len(columns)):
        widest = 2 + max(len(line[i + 1]) for line in lines)
        for line in lines:
            line[i + 1] = line[i + 1].ljust(widest)
    for line in lines:
        print((line[0].ljust(width) + "".join(line[1:])).rstrip())


def compare(name, file, column):
    """Does the table have in its column what was measured? Returns the number of differences. On another kernel than the one of the table it is
    none that this kernel does not have something, or has more."""
    rows = load([file])[column]
    with open(name) as lines:
        kept = [line.rstrip("\n") for line in lines if line.strip()]
    is_same_kernel = kept.pop(0).split()[1].rstrip(",") == kernel_version()
    head = kept.pop(0)
    starts = [head.index(title) for title in COLUMNS.values()] + [None]
    at = list(COLUMNS).index(column)
    had = {line[: starts[0]].strip(): line[starts[at] : starts[at + 1]].strip() for line in kept}
    n_bad = 0
    for title in list(had) + [t for t in rows if t not in had]:
        a, b = had.get(title, "(no such row)"), rows.get(title, "(no such row)")
        if a == b:
            continue
        print("%s, %s: the table has '%s', measured is '%s'" % (COLUMNS[column], title, a, b))
        n_bad += is_same_kernel or "not in this kernel" not in (a, b)
    return n_bad


def kernel_version():
    return os.uname().release.split("-")[0]


def main():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("create", "names"):
        verbs.add_parser(verb).add_argument("phase", type=int)
    verbs.add_parser("read")
    verbs.add_parser("lenient")
    one = verbs.add_parser("packet")
    one.add_argument("side", choices=("vm", "cli"))
    for name in ("sequence", "acknowledged", "length"):
        one.add_argument(name, type=int)
    one = verbs.add_parser("judge")
    one.add_argument("--phase", type=int, required=True)
    for name in ("column", "source", "there", "after"):
        one.add_argument("--" + name, required=True)
    for name in ("results", "journals", "registry"):
        one.add_argument("--" + name)
    one = verbs.add_parser("table")
    one.add_argument("versions")
    one.add_argument("files", nargs="+")
    one = verbs.add_parser("compare")
    one.add_argument("table")
    one.add_argument("file")
    one.add_argument("column", choices=COLUMNS)
    a = parser.parse_args()
    if a.verb == "create":
        create(a.phase)
    elif a.verb == "names":
        for case in cases():
            if case.phase == a.phase:
                print(case.name, case.vm)
    elif a.verb == "read":
        read()
    elif a.verb == "lenient":
        sys.exit(0 if lenient() else 1)
    elif a.verb == "packet":
        packet(a.side, a.sequence, a.acknowledged, a.length)
    elif a.verb == "judge":
        judge_all(a)
    elif a.verb == "table":
        table(a.versions, a.files)
    elif a.verb == "compare":
        sys.exit(1 if compare(a.table, a.file, a.column) else 0)


if __name__ == "__main__":
    main()
