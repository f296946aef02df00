/* A capture of packets that are well-formed up to what reassembly looks at: numbers, flags and payload are the input's. Six octets and a payload each. */
#include "tests/fuzz/fuzz.h"

#include <netinet/in.h>

#include "tests/unit/capture-frames.h"

enum { KIND, FLAGS, NUMBER, OTHER = NUMBER + 2, LENGTH, HEADER };

static GByteArray *
make_sctp(const Ends *ends, const guint8 *p, GByteArray *payload)
{
    guint8 flags = p[FLAGS] & 7;
    guint number = (guint)p[NUMBER] << 8 | p[NUMBER + 1];
    GByteArray *chunk = p[FLAGS] & 64   ? frames_chunk(p[OTHER], flags, payload)
                        : p[FLAGS] & 32 ? frames_join(frames_init(p[OTHER] & 1, 7, 0xfffffff0u), payload)
                                        : frames_data(flags, 0xfffffff0u + (number & 63), p[OTHER] & 3, (guint16)(number >> 8), payload);
    return frames_sctp(ends, p[FLAGS] & 32 ? 0 : 7, chunk);
}

static void
add_packet(Frames *frames, const guint8 *p)
{
    const Ends client = {p[KIND] & 16 ? 6 : 4, 1, 2, 40000, p[KIND] & 32 ? 4739 : 8000}, ends = p[FLAGS] & 128 ? ends_back(&client) : client;
    guint number = (guint)p[NUMBER] << 8 | p[NUMBER + 1];
    GByteArray *payload = frames_octets(p + HEADER, p[LENGTH]);
    gsize n_cut = p[KIND] & 64 ? MIN(p[OTHER], payload->len) : 0;
    if ((p[KIND] & 3) == 0)
        payload = frames_ip(&ends, IPPROTO_TCP, frames_tcp(&ends, p[FLAGS] & 31, 0xffffff00u + number, 0xffffff00u + p[OTHER] * 16, payload));
    else if ((p[KIND] & 3) == 1)
        payload = frames_ip(&ends, IPPROTO_SCTP, make_sctp(&ends, p, payload));
    else if ((p[KIND] & 3) == 2)
        payload = frames_ip(&ends, IPPROTO_UDP, frames_udp(&ends, payload));
    else
        payload = frames_fragment(&ends, p[OTHER], p[FLAGS] & 3, (number & 31) * 8, (p[FLAGS] & 4) != 0, payload);
    frames_add(frames, payload, n_cut);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Frames frames;
    frames_begin(&frames, DLT_RAW, FALSE);
    while (size >= HEADER && size - HEADER >= data[LENGTH]) {
        gsize n = HEADER + (gsize)data[LENGTH];
        add_packet(&frames, data);
        data += n, size -= n;
    }
    sami_fuzz_capture(frames.file->data, frames.file->len);
    frames_clear(&frames);
    return 0;
}
