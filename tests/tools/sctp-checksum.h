/* The sum of an SCTP packet that a test makes, CRC32c bit by bit as RFC 9260 appendix A has it, and not as the reader has it. */
#pragma once

#include <glib.h>
#include <string.h>

/* Puts it into octets 8 to 11, in the order of the reflected polynomial. */
static inline void
sctp_set_checksum(guint8 *packet, gsize n)
{
    guint32 crc = 0xffffffffu;
    memset(packet + 8, 0, 4);
    for (gsize i = 0; i < n; i++) {
        crc ^= packet[i];
        for (guint bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    crc = GUINT32_TO_LE(~crc);
    memcpy(packet + 8, &crc, 4);
}
