#include "tests/unit/capture-frames.h"

#include <string.h>

#include <netinet/in.h>

#include "tests/tools/sctp-checksum.h"

Ends
ends_back(const Ends *ends)
{
    return (Ends){ ends->family, ends->destination, ends->source, ends->destination_port, ends->source_port };
}

static void
put(GByteArray *out, guint64 value, guint n)
{
    for (guint i = n; i-- > 0;) {
        guint8 octet = (guint8) (value >> (8 * i));
        g_byte_array_append(out, &octet, 1);
    }
}

GByteArray *
frames_octets(const void *octets, gsize n)
{
    return g_byte_array_append(g_byte_array_new(), octets, (guint) n);
}

GByteArray *
frames_join(GByteArray *a, GByteArray *b)
{
    g_byte_array_append(a, b->data, b->len);
    g_byte_array_unref(b);
    return a;
}

GByteArray *
frames_part(const GByteArray *octets, gsize from, gsize to)
{
    return frames_octets(octets->data + from, MIN(to, octets->len) - from);
}

GByteArray *
frames_message(guint32 number, gsize length)
{
    GByteArray *out = g_byte_array_new();
    put(out, 10, 2);
    put(out, length, 2);
    put(out, 1700000000, 4);
    put(out, number, 4);
    put(out, 1, 4);
    if (length > 16) {
        put(out, 256, 2);
        put(out, length - 16, 2);
    }
    while (out->len < length) /* nothing that looks like a header */
        put(out, 0x80 | (number * 31 + out->len * 7 + out->len / 251), 1);
    return out;
}

gboolean
frames_is_message(const guint8 *octets, gsize length)
{
    guint32 number = (guint32) octets[8] << 24 | (guint32) octets[9] << 16 | (guint32) octets[10] << 8 | octets[11];
    g_autoptr(GByteArray) wanted = frames_message(number, length);
    return wanted->len == length && memcmp(wanted->data, octets, length) == 0;
}

GByteArray *
frames_udp(const Ends *ends, GByteArray *payload)
{
    GByteArray *out = g_byte_array_new();
    put(out, ends->source_port, 2);
    put(out, ends->destination_port, 2);
    put(out, payload->len + 8, 2);
    put(out, 0, 2);
    return frames_join(out, payload);
}

GByteArray *
frames_tcp(const Ends *ends, guint flags, guint32 sequence, guint32 acknowledged, GByteArray *payload)
{
    GByteArray *out = g_byte_array_new();
    put(out, ends->source_port, 2);
    put(out, ends->destination_port, 2);
    put(out, sequence, 4);
    put(out, acknowledged, 4);
    put(out, 8 << 4, 1); /* with 12 octets of options */
    put(out, flags, 1);
    put(out, 0xffff0000, 6);
    put(out, 0x0101080a, 4);
    put(out, 0, 8);
    return frames_join(out, payload ? payload : g_byte_array_new());
}

GByteArray *
frames_chunk(guint8 type, guint8 flags, GByteArray *body)
{
    GByteArray *out = g_byte_array_new();
    put(out, type, 1);
    put(out, flags, 1);
    put(out, body->len + 4, 2);
    out = frames_join(out, body);
    while (out->len % 4 != 0)
        put(out, 0, 1);
    return out;
}

GByteArray *
frames_data(guint8 flags, guint32 tsn, guint16 stream, guint16 ssn, GByteArray *payload)
{
    GByteArray *body = g_byte_array_new();
    put(body, tsn, 4);
    put(body, stream, 2);
    put(body, ssn, 2);
    put(body, 0, 4);
    return frames_chunk(0, flags, frames_join(body, payload));
}

GByteArray *
frames_init(gboolean is_ack, guint32 tag, guint32 tsn)
{
    GByteArray *body = g_byte_array_new();
    put(body, tag, 4);
    put(body, 65536, 4);
    put(body, 0x000a000a, 4);
    put(body, tsn, 4);
    return frames_chunk(is_ack ? 2 : 1, 0, body);
}

GByteArray *
frames_sctp(const Ends *ends, guint32 tag, GByteArray *chunks)
{
    GByteArray *out = g_byte_array_new();
    put(out, ends->source_port, 2);
    put(out, ends->destination_port, 2);
    put(out, tag, 4);
    put(out, 0, 4);
    out = frames_join(out, chunks);
    sctp_set_checksum(out->data, out->len);
    return out;
}

static void
put_address(GByteArray *out, guint family, guint8 last)
{
    put(out, family == 4 ? 0xc0000200u : 0x20010db800000000u, family == 4 ? 4 : 8);
    if (family == 6)
        put(out, 0, 8);
    out->data[out->len - 1] = last;
}

static GByteArray *
put_ip(const Ends *ends, guint8 protocol, guint id, guint fragment, GByteArray *payload)
{
    GByteArray *out = g_byte_array_new();
    if (ends->family == 4) {
        put(out, 0x4600, 2); /* with 4 octets of options */
        put(out, payload->len + 24, 2);
        put(out, id, 2);
        put(out, fragment, 2);
        put(out, 64, 1);
        put(out, protocol, 1);
        put(out, 0, 2);
    } else {
        put(out, 0x60000000, 4);
        put(out, payload->len, 2);
        put(out, protocol, 1);
        put(out, 64, 1);
    }
    put_address(out, ends->family, ends->source);
    put_address(out, ends->family, ends->destination);
    if (ends->family == 4)
        put(out, 0x01010101, 4);
    return frames_join(out, payload);
}

GByteArray *
frames_ip(const Ends *ends, guint8 protocol, GByteArray *payload)
{
    GByteArray *options = g_byte_array_new();
    if (ends->family == 4) {
        g_byte_array_unref(options);
        return put_ip(ends, protocol, 0, 0, payload);
    }
    put(options, (guint) IPPROTO_DSTOPTS << 8, 2); /* hop by hop, then destination options of 16 octets */
    put(options, 0x010400000000, 6);
    put(options, (guint) protocol << 8 | 1, 2);
    put(options, 0x010c, 2);
    put(options, 0, 8);
    put(options, 0, 4);
    return put_ip(ends, IPPROTO_HOPOPTS, 0, 0, frames_join(options, payload));
}

GByteArray *
frames_fragment(const Ends *ends, guint8 protocol, guint32 id, guint at, gboolean has_more, GByteArray *part)
{
    if (ends->family == 4)
        return put_ip(ends, protocol, id, at / 8 | (has_more ? 0x2000 : 0), part);
    GByteArray *header = g_byte_array_new();
    put(header, (guint) protocol << 8, 2);
    put(header, at | (has_more ? 1 : 0), 2);
    put(header, id, 4);
    return put_ip(ends, IPPROTO_FRAGMENT, 0, 0, frames_join(header, part));
}

GByteArray *
frames_ether(guint n_tags, GByteArray *ip)
{
    GByteArray *out = g_byte_array_new();
    put(out, 0x020000000001, 6);
    put(out, 0x020000000002, 6);
    for (guint i = 0; i < n_tags; i++)
        put(out, (i + 1 < n_tags ? 0x88a80000u : 0x81000000u) | (100 + i), 4);
    put(out, ip->data[0] >> 4 == 4 ? 0x0800 : 0x86dd, 2);
    return frames_join(out, ip);
}

static void
put_le(GByteArray *out, guint32 value, guint n)
{
    for (guint i = 0; i < n; i++)
        put(out, value >> (8 * i) & 255, 1);
}

void
frames_begin(Frames *frames, guint link, gboolean is_ng)
{
    *frames = (Frames){ .file = g_byte_array_new(), .is_ng = is_ng };
    if (!is_ng) {
        put(frames->file, 0xa1b2c3d4, 4); /* big-endian, so that no test passes by the host's order */
        put(frames->file, 0x00020004, 4);
        put(frames->file, 0, 8);
        put(frames->file, 262144, 4);
        put(frames->file, link, 4);
        return;
    }
    put_le(frames->file, 0x0a0d0d0a, 4);
    put_le(frames->file, 28, 4);
    put_le(frames->file, 0x1a2b3c4d, 4);
    put_le(frames->file, 1, 4);
    put_le(frames->file, 0xffffffff, 4);
    put_le(frames->file, 0xffffffff, 4);
    put_le(frames->file, 28, 4);
    put_le(frames->file, 1, 4); /* interface */
    put_le(frames->file, 20, 4);
    put_le(frames->file, link, 4);
    put_le(frames->file, 0, 4);
    put_le(frames->file, 20, 4);
}

void
frames_clear(Frames *frames)
{
    g_clear_pointer(&frames->file, g_byte_array_unref);
}

void
frames_add(Frames *frames, GByteArray *frame, gsize n_cut)
{
    guint n = frame->len - (guint) n_cut, padded = (n + 3) & ~3u;
    guint32 second = 1700000000 + ++frames->n_packets;
    frames->last_at = frames->file->len;
    if (!frames->is_ng) {
        put(frames->file, second, 4);
        put(frames->file, 250000, 4);
        put(frames->file, n, 4);
        put(frames->file, frame->len, 4);
        g_byte_array_append(frames->file, frame->data, n);
    } else {
        guint64 us = second * G_GUINT64_CONSTANT(1000000) + 250000;
        put_le(frames->file, 6, 4);
        put_le(frames->file, 32 + padded, 4);
        put_le(frames->file, 0, 4);
        put_le(frames->file, (guint32) (us >> 32), 4);
        put_le(frames->file, (guint32) us, 4);
        put_le(frames->file, n, 4);
        put_le(frames->file, frame->len, 4);
        g_byte_array_append(frames->file, frame->data, n);
        put_le(frames->file, 0, padded - n);
        put_le(frames->file, 32 + padded, 4);
    }
    g_byte_array_unref(frame);
}

void
frames_add_ip(Frames *frames, const Ends *ends, guint8 protocol, GByteArray *payload)
{
    frames_add(frames, frames_ether(0, frames_ip(ends, protocol, payload)), 0);
}

void
frames_add_tcp(Frames *frames, const Ends *ends, guint flags, guint32 sequence, GByteArray *payload)
{
    frames_add_ip(frames, ends, IPPROTO_TCP, frames_tcp(ends, flags, sequence, 0, payload));
}

static void
add_stream(Frames *frames, const Ends *ends, guint32 sequence)
{
    frames_add_tcp(frames, ends, SYN, sequence, NULL);
    for (guint i = 0; i < 6; i++) {
        frames_add_tcp(frames, ends, ACK, sequence + 1 + i * 300, frames_message(i, 300));
        if (i == 3)
            frames_add_tcp(frames, ends, ACK, sequence + 1 + 8 * 300, frames_message(8, 300));
    }
    frames_add_tcp(frames, ends, ACK, sequence + 1 + 6 * 300, frames_join(frames_message(6, 300), frames_message(7, 300)));
    frames_add_tcp(frames, ends, ACK | FIN, sequence + 1 + 9 * 300, NULL);
}

static void
add_association(Frames *frames, const Ends *ends)
{
    g_autoptr(GByteArray) message = frames_message(9, 3000);
    frames_add_ip(frames, ends, IPPROTO_SCTP, frames_sctp(ends, 0, frames_init(FALSE, 77, 100)));
    for (guint i = 0; i < 3; i++)
        frames_add_ip(frames, ends, IPPROTO_SCTP, frames_sctp(ends, 88, frames_data((i == 0 ? DATA_B : 0) | (i == 2 ? DATA_E : 0), 100 + i, 1, 0,
                                                                                   frames_part(message, i * 1000, i * 1000 + 1000))));
    frames_add_ip(frames, ends, IPPROTO_UDP, frames_udp(&(Ends){ 4, 1, 2, 9899, 9899 },
                                                       frames_sctp(ends, 88, frames_data(DATA_B | DATA_E, 103, 1, 1, frames_message(10, 100)))));
}

void
frames_add_all(Frames *frames)
{
    const Ends plain = { 4, 1, 2, 40000, 4739 }, plain6 = { 6, 1, 2, 40000, 4739 };
    g_autoptr(GByteArray) datagram = frames_udp(&plain, frames_message(3, 2000));
    frames_add_ip(frames, &plain, IPPROTO_UDP, frames_udp(&plain, frames_message(1, 100)));
    frames_add(frames, frames_ether(2, frames_ip(&plain6, IPPROTO_UDP, frames_udp(&plain6, frames_message(2, 100)))), 0);
    frames_add(frames, frames_ether(0, frames_fragment(&plain, IPPROTO_UDP, 5, 0, TRUE, frames_part(datagram, 0, 1000))), 0);
    add_stream(frames, &(Ends){ 4, 1, 2, 1000, 4739 }, 0xfffffe00u);
    frames_add(frames, frames_ether(0, frames_fragment(&plain, IPPROTO_UDP, 5, 1000, FALSE, frames_part(datagram, 1000, 2008))), 0);
    add_stream(frames, &(Ends){ 6, 1, 2, 1000, 5000 }, 7);
    add_association(frames, &(Ends){ 4, 1, 2, 1000, 4739 });
}
