"""Flows as a program of others says them, against the records of `sami-replay dump --json`: every one, and its values. Prints the first that differs.

nfdump JSON DUMP                 of `nfdump -o json`
primitives REGISTRY DUMP         for nfacctd's aggregate_primitives: the elements of ours, by number, that flows in DUMP have; REGISTRY is their XML
nfacctd JSON REGISTRY DUMP       of nfacctd's print plugin with those primitives
softflowd CONVERSATIONS DUMP     what tests/interop/packets.py says is in its capture
"""
import json
import sys
import xml.etree.ElementTree as xml

LENGTHS = {"unsigned8": 1, "unsigned16": 2, "unsigned32": 4, "unsigned64": 8, "ipv4Address": 4, "ipv6Address": 16, "string": 16, "octetArray": 16}
SEMANTICS = {"ipv4Address": "ip", "ipv6Address": "ip", "string": "str", "octetArray": "raw"}
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 132: "sctp"}


def flows(path):
    with open(path) as lines:
        records = [json.loads(line) for line in lines if ',"fields":{' in line]
    return [r["fields"] for r in records if "protocolIdentifier" in r["fields"] and address(r["fields"], "source")]


def address(fields, which):
    return fields.get(which + "IPv4Address") or fields.get(which + "IPv6Address")


def tuple_of(fields):
    return (address(fields, "source"), fields.get("sourceTransportPort", 0), address(fields, "destination"), fields.get("destinationTransportPort", 0))


def compare(ours, theirs):
    ours, theirs = sorted(ours, key=repr), sorted(theirs, key=repr)
    for a, b in zip(ours, theirs):
        if a != b:
            sys.exit("sami-replay: %s\nthe other:   %s" % (a, b))
    if len(ours) != len(theirs) or not ours:
        sys.exit("%d flows here, %d there: %s\n%s" % (len(ours), len(theirs), ours, theirs))
    print("%d flows are the same" % len(ours))


def nfdump(path, dump):
    ours = [
        tuple_of(f)
        + (f["protocolIdentifier"], f.get("packetTotalCount", 0), f.get("octetTotalCount", 0), f.get("reversePacketTotalCount", 0))
        + (f.get("reverseOctetTotalCount", 0), f.get("postNATSourceIPv4Address"), f.get("postNAPTSourceTransportPort", 0))
        for f in flows(dump)
    ]
    with open(path) as text:
        found = json.load(text)
    theirs = [
        (f.get("src4_addr") or f.get("src6_addr"), f.get("src_port", 0), f.get("dst4_addr") or f.get("dst6_addr"), f.get("dst_port", 0))
        + (f["proto"], f["in_packets"], f["in_bytes"], f.get("out_packets", 0), f.get("out_bytes", 0), f.get("src4_xlt_ip"))
        + (int(f.get("src_xlt_port", 0)),)
        for f in found
    ]
    compare(ours, theirs)


def elements(registry, dump):
    """{name: (enterprise, number, type)} of ours that flows have."""
    known = {}
    for record in xml.parse(registry).getroot().iter("{http://www.iana.org/assignments}record"):
        of = {child.tag.split("}")[1]: child.text for child in record}
        name, number = of["name"], int(of["elementId"])
        known[name] = of["enterpriseId"], number, of["dataType"]
        if of.get("reversible") == "1":
            known["reverse" + name[0].upper() + name[1:]] = of["enterpriseId"], number | 0x4000, of["dataType"]
    return {name: known[name] for f in flows(dump) for name in f if name in known}


def primitives(registry, dump):
    for name, (enterprise, number, kind) in elements(registry, dump).items():
        print("name=%s field_type=%s:%d len=%d semantics=%s" % (name, enterprise, number, LENGTHS[kind], SEMANTICS.get(kind, "u_int")))


def nfacctd(path, registry, dump):
    ours, theirs, names = [], [], elements(registry, dump)
    for f in flows(dump):
        # Of what a record does not have, the program prints this.
        nothing = {name: {"ip": "0.0.0.0", None: "0"}.get(SEMANTICS.get(kind), "") for name, (_, _, kind) in names.items()}
        ours.append(tuple_of(f) + (PROTOCOLS[f["protocolIdentifier"]],) + tuple(str(f.get(name, nothing[name])) for name in names))
    with open(path) as text:
        found = [json.loads(line) for line in text]
    for f in found:
        theirs.append((f["ip_src"], f["port_src"], f["ip_dst"], f["port_dst"], f["ip_proto"]) + tuple(f[name.lower()].replace("-", "") for name in names))
    compare(ours, theirs)
    print("with %d elements of ours" % len(names))


def softflowd(path, dump):
    with open(path) as text:
        theirs = [tuple(line.split()) for line in text]
    compare([tuple(str(v) for v in tuple_of(f) + (f["protocolIdentifier"], f["packetDeltaCount"], f["octetDeltaCount"])) for f in flows(dump)], theirs)


{"nfdump": nfdump, "primitives": primitives, "nfacctd": nfacctd, "softflowd": softflowd}[sys.argv[1]](*sys.argv[2:])
