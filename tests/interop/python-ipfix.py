"""Python's module `ipfix` (Debian: python3-ipfix), which knows nothing of SAMI, against what sami-replay says of the same Messages.

read FILE REGISTRY DUMP    FILE is one of ours, DUMP what `sami-replay dump --json` has of it, REGISTRY the XML of our elements: the module reads the
                           same records, first with our elements by number only, then by name and type
write FILE [flush]         the module writes; prints the records as `dump --json` has their fields, a JSON line each
compare LINES DUMP         those lines and a dump have the same records in the same order
"""
import datetime
import ipaddress
import itertools
import json
import sys
import xml.etree.ElementTree as xml

import ipfix.ie
import ipfix.message
import ipfix.reader
import ipfix.template
import ipfix.types
import ipfix.writer

# --- reading ---


def specifications(path):
    """An IESpec of each of our elements, and of its twin of the reply direction (RFC 5103 §6.2)."""
    for record in xml.parse(path).getroot().iter("{http://www.iana.org/assignments}record"):
        of = {child.tag.split("}")[1]: child.text for child in record}
        name, number = of["name"], int(of["elementId"])
        yield "%s(%s/%d)<%s>" % (name, of["enterpriseId"], number, of["dataType"])
        if of.get("reversible") == "1":
            yield "reverse%s%s(%s/%d)<%s>" % (name[0].upper(), name[1:], of["enterpriseId"], number | 0x4000, of["dataType"])


def fields(template, octets, offset, recinf=None):
    """In place of the module's own, whose dictionaries lose the first of two values of one element."""
    values, offset = template.decode_from(octets, offset)
    return list(zip(template.ies, values)), offset


def records(path):
    buffer = ipfix.message.MessageBuffer()
    with open(path, "rb") as stream:
        while True:
            try:
                buffer.read_message(stream)
            except EOFError:
                return
            yield from buffer.record_iterator(decode_fn=fields)


def said(element, value):
    """As dump --json says it."""
    kind = element.type.name
    if kind.startswith("dateTime"):
        digits = {"dateTimeSeconds": 0, "dateTimeMilliseconds": 3, "dateTimeMicroseconds": 6}[kind]
        text = value.strftime("%Y-%m-%dT%H:%M:%S.%f")
        return (text[: -6 + digits] if digits else text[:-7]) + "Z"
    if kind == "string":
        return value.rstrip("\0")
    if kind == "macAddress":
        return value.hex(":")
    if kind.endswith("Address"):
        return str(value)
    return value.hex() if isinstance(value, bytes) else value


def octets_of(value, kind, length):
    """The other way round: what `value` of dump --json looks like on the wire."""
    if isinstance(value, int):
        return value.to_bytes(length, "big", signed=value < 0)
    if kind.endswith("Address"):
        return ipaddress.ip_address(value).packed
    return bytes.fromhex(value) if kind == "octetArray" else value.encode().ljust(length, b"\0")


def grouped(pairs):
    """{name: value}, of an element that comes twice a list, as in dump --json."""
    record = {}
    for name, value in pairs:
        record.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in record.items()}


def lines(path):
    with open(path) as text:
        found = [json.loads(line) for line in text]
    faults = [line for line in found if "fields" not in line]
    if faults:
        sys.exit("sami-replay finds faults: %s" % faults)
    return [line["fields"] for line in found]


def same(ours, theirs):
    for n, (a, b) in enumerate(itertools.zip_longest(ours, theirs)):
        if a != b:
            a, b = a or {}, b or {}
            differ = {name: (a.get(name), b.get(name)) for name in {**a, **b} if a.get(name) != b.get(name)}
            sys.exit("record %d: sami-replay has, and the module: %s\nof %s" % (n + 1, differ, a))
    if not ours:
        sys.exit("no records")


def read(path, registry, dump):
    ours, wanted = list(specifications(registry)), lines(dump)
    known = {}
    for specification in ours:
        name, enterprise, number, kind, _ = ipfix.ie.parse_spec(specification)
        known[(enterprise, number)] = name, kind
    ipfix.ie.use_iana_default()
    ipfix.ie.use_5103_default()
    n = 0
    for record, want in itertools.zip_longest(records(path), wanted, fillvalue={}):
        for element, value in record:
            if (element.pen, element.num) in known:
                name, kind = known[(element.pen, element.num)]
                if element.name != "_ipfix_%d_%d" % (element.pen, element.num) or value != octets_of(want[name], kind, element.length):
                    sys.exit("%s: sami-replay has %s of %s, the module %s" % (element.name, want[name], name, value))
                n += 1
    if not n:
        sys.exit("no field of ours")
    ipfix.ie.clear_infomodel()
    ipfix.ie.use_iana_default()
    ipfix.ie.use_5103_default()
    for specification in ours:
        ipfix.ie.for_spec(specification)
    found = [grouped((element.name, said(element, value)) for element, value in record) for record in records(path)]
    same(wanted, found)
    for record in found:  # what the stream says of its elements is what the registry says (RFC 5610)
        if "informationElementName" in record:
            name, kind = known[(record["privateEnterpriseNumber"], record["informationElementId"])]
            if (record["informationElementName"], record["informationElementDataType"]) != (name, ipfix.types.for_name(kind).num):
                sys.exit("%s: not as in %s" % (record, registry))
    print("%d records, %d fields of ours" % (len(wanted), n))


# --- writing ---

DAY = datetime.datetime(2026, 11, 29, 16, 33, 20, 250000)
NTP_DAY = DAY + datetime.timedelta(seconds=2208988800)  # the module (0.9.7) counts from 1970 where RFC 7011 §6.1.9 counts from 1900
PEN = 4711
OF_ALL_TYPES = [  # IESpec, value for the module, value in JSON
    ("sourceIPv4Address", ipaddress.ip_address("192.0.2.1"), "192.0.2.1"),
    ("destinationIPv6Address", ipaddress.ip_address("2001:db8::1"), "2001:db8::1"),
    ("sourceMacAddress", bytes.fromhex("020000000001"), "02:00:00:00:00:01"),
    ("protocolIdentifier", 17, 17),
    ("sourceTransportPort", 65535, 65535),
    ("ingressInterface", 0xFFFFFFFF, 0xFFFFFFFF),
    ("octetDeltaCount", 2**64 - 1, 2**64 - 1),
    ("packetDeltaCount[4]", 70000, 70000),
    ("packetTotalCount[1]", 7, 7),
    ("flowStartSeconds", DAY, "2026-11-29T16:33:20Z"),
    ("flowStartMilliseconds", DAY, "2026-11-29T16:33:20.250Z"),
    ("flowStartMicroseconds", NTP_DAY, "2026-11-29T16:33:20.250000Z"),
    ("flowStartNanoseconds", NTP_DAY, "2026-11-29T16:33:20.250000000Z"),
    ("dataRecordsReliability", False, False),
    ("samplingProbability", 0.0625, 0.0625),
    ("samplingProbability[4]", 0.75, 0.75),
    ("mibObjectValueInteger(0/434)<signed32>", -5, -5),
    ("interfaceName", "wörld \"0\"\\\t", "wörld \"0\"\\\t"),
    ("applicationName", "", ""),
    ("ipHeaderPacketSection", bytes(range(256)) * 2, (bytes(range(256)) * 2).hex()),
    ("tea(%d/1)<unsigned16>" % PEN, 0xBEEF, "beef"),
    ("cup(%d/32767)<octetArray>" % PEN, b"\0\xff", "00ff"),
    ("never(0/32000)<octetArray>[3]", b"abc", "616263"),
]
# RFC 5610 §3: what comes of (number, type, semantics, name) with its value
DESCRIBED = [
    (42, "signed16", 1, "brewTemperature", -40),
    (43, "unsigned64", 2, "cupsPoured", 2**40),
    (44, "string", 0, "nameOfTea", "Darjeeling ☕"),
    (45, "ipv6Address", 0, "addressOfPot", ipaddress.ip_address("2001:db8::7ea")),
    (46, "boolean", 0, "isHot", True),
]
DESCRIPTION = ("privateEnterpriseNumber", "informationElementId", "informationElementDataType", "informationElementSemantics", "informationElementName")


def define(writer, number, specifications_, n_scope=0):
    template = ipfix.template.from_ielist(number, ipfix.ie.spec_list(specifications_))
    template.scopecount = n_scope
    writer.add_template(template)
    return template


def tell(names, values):
    print(json.dumps(grouped(zip(names, values))))


def names_in_dump():
    """sami-replay has the registry of IANA, and of other elements only numbers."""
    for specification, _, _ in OF_ALL_TYPES:
        name, enterprise, number, _, _ = ipfix.ie.parse_spec(specification)
        yield "e%did%d" % (enterprise, number) if enterprise else "id%d" % number if number == 32000 else name


def write(path, is_flushed):
    ipfix.ie.use_iana_default()
    with open(path, "wb") as stream:
        writer = ipfix.writer.to_stream(stream, mtu=2000)
        writer.msg.set_export_time(DAY)
        writer.set_domain(7)
        define(writer, 256, [specification for specification, _, _ in OF_ALL_TYPES])
        writer.set_export_template(256)
        for _ in range(3):
            writer.export_tuple([value for _, value, _ in OF_ALL_TYPES])
            tell(names_in_dump(), [value for _, _, value in OF_ALL_TYPES])
        if is_flushed:
            writer.flush()
        # Described in the stream itself, then used.
        define(writer, 300, DESCRIPTION, 2)
        writer.set_export_template(300)
        for number, kind, semantics, name, _ in DESCRIBED:
            row = (PEN, number, ipfix.types.for_name(kind).num, semantics, name)
            writer.export_tuple(row)
            tell(DESCRIPTION, row)
        define(writer, 301, ["%s(%d/%d)<%s>" % (name, PEN, number, kind) for number, kind, _, name, _ in DESCRIBED])
        writer.set_export_template(301)
        for _ in range(400):  # of many Messages
            writer.export_tuple([value for _, _, _, _, value in DESCRIBED])
            tell([row[3] for row in DESCRIBED], [said(ipfix.ie.for_spec(row[3]), row[4]) for row in DESCRIBED])
        writer.flush()


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(*sys.argv[2:5])
    elif sys.argv[1] == "write":
        write(sys.argv[2], len(sys.argv) > 3)
    else:
        with open(sys.argv[2]) as text_:
            same(lines(sys.argv[3]), [json.loads(line_) for line_ in text_])
