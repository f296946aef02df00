#!/usr/bin/env python3
"""IPFIX files as tests need them: unsign IN OUT | flip IN OUT NUMBER | answer IN OUT NUMBER | count IN | offset IN NUMBER | counter IN NUMBER

unsign takes each Message's signature Set off, and what it counts for in the Sequence Number. flip changes one bit in the middle of Message NUMBER (from 0).
answer makes Message NUMBER say that it is a collector's.
"""
import struct
import sys

SIGNATURE_SET = 144


def messages(path):
    data = open(path, 'rb').read()
    at = 0
    while at < len(data):
        length = struct.unpack_from('!H', data, at + 2)[0]
        yield bytearray(data[at:at + length])
        at += length


def unsigned(all_messages):
    for number, message in enumerate(all_messages):
        sequence = struct.unpack_from('!I', message, 8)[0]
        message = message[:-SIGNATURE_SET]
        struct.pack_into('!H', message, 2, len(message))
        struct.pack_into('!I', message, 8, sequence - number)
        yield message


def flipped(all_messages, wanted):
    for number, message in enumerate(all_messages):
        if number == wanted:
            message[len(message) // 2] ^= 0x10
        yield message


def answering(all_messages, wanted):
    for number, message in enumerate(all_messages):
        if number == wanted:
            message[6 - SIGNATURE_SET] = 2
        yield message


def main(verb, path, *rest):
    if verb == 'count':
        print(len(list(messages(path))))
    elif verb == 'counter':
        print(struct.unpack('!Q', list(messages(path))[int(rest[0])][-80:-72])[0])
    elif verb == 'offset':
        print(sum(len(m) for m in list(messages(path))[:int(rest[0])]))
    else:
        changed = (unsigned(messages(path)) if verb == 'unsign' else
                   {'flip': flipped, 'answer': answering}[verb](messages(path), int(rest[1])))
        with open(rest[0], 'wb') as out:
            for message in changed:
                out.write(message)


main(*sys.argv[1:])
