"""Reads the session records of a journal: RFC 7011 as far as SAMI uses it. Elements are named by (enterprise, number)."""
import struct


def records(octets):
    """Yields {(enterprise, number): octets} of each data record; of an element that comes twice, the last."""
    templates, at = {}, 0
    while at < len(octets):
        version, length = struct.unpack_from(">HH", octets, at)
        if version != 10 or length < 16 or at + length > len(octets):
            raise ValueError("no Message at %d" % at)
        end, place = at + length, at + 16
        while place < end:
            kind, size = struct.unpack_from(">HH", octets, place)
            if size < 4 or place + size > end:
                raise ValueError("no Set at %d" % place)
            body, place = octets[place + 4 : place + size], place + size
            if kind in (2, 3):
                define(templates, body, kind == 3)
            elif kind in templates:
                yield from split(templates[kind], body)
        at += length


def define(templates, body, is_options):
    at = 0
    while at + 4 <= len(body):
        number, n = struct.unpack_from(">HH", body, at)
        at += 6 if is_options else 4
        fields = []
        for _ in range(n):
            element, length = struct.unpack_from(">HH", body, at)
            at += 4
            enterprise = 0
            if element & 0x8000:
                enterprise = struct.unpack_from(">I", body, at)[0]
                at += 4
            fields.append(((enterprise, element & 0x7FFF), length))
        templates[number] = fields


def split(fields, body):
    """An octet array of variable length (65535) has its length before it, RFC 7011 §7."""
    at = 0
    least = sum(1 if length == 65535 else length for _, length in fields)
    while least and at + least <= len(body):
        record = {}
        for name, length in fields:
            if length == 65535:
                length = body[at]
                at += 1
                if length == 255:
                    length = struct.unpack_from(">H", body, at)[0]
                    at += 2
            record[name] = body[at : at + length]
            at += length
        yield record
