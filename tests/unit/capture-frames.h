/* Captures for tests, frame by frame: what is not said here is as a plain sender would have it. */
#pragma once

#include <glib.h>

#include <pcap/pcap.h>

/* Between whom; ports 0: none are written. */
typedef struct {
    guint family; /* 4, 6 */
    guint8 source, destination; /* last octet of the address */
    guint16 source_port, destination_port;
} Ends;
Ends ends_back(const Ends *ends);

/* A Message of this number (its Sequence Number) and length: 16, or from 20 on one Data Set. Equal arguments give equal octets. */
GByteArray *frames_message(guint32 number, gsize length);
/* Is it the one that frames_message() makes? */
gboolean frames_is_message(const guint8 *octets, gsize length);

/* All give and take ownership: f(g(h())) leaks nothing. */
GByteArray *frames_octets(const void *octets, gsize n);
GByteArray *frames_join(GByteArray *a_take, GByteArray *b_take);
GByteArray *frames_part(const GByteArray *octets, gsize from, gsize to);
GByteArray *frames_udp(const Ends *ends, GByteArray *payload_take);
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };
GByteArray *frames_tcp(const Ends *ends, guint flags, guint32 sequence, guint32 acknowledged, GByteArray *payload_take);
/* SCTP: a packet, right checksum included, and chunks to join in it. */
GByteArray *frames_sctp(const Ends *ends, guint32 tag, GByteArray *chunks_take);
GByteArray *frames_chunk(guint8 type, guint8 flags, GByteArray *body_take);
enum { DATA_E = 1, DATA_B = 2, DATA_U = 4 };
GByteArray *frames_data(guint8 flags, guint32 tsn, guint16 stream, guint16 ssn, GByteArray *payload_take);
GByteArray *frames_init(gboolean is_ack, guint32 tag, guint32 tsn);
/* IP with protocol, of the ends' family. */
GByteArray *frames_ip(const Ends *ends, guint8 protocol, GByteArray *payload_take);
/* A fragment: octets from `at` on. */
GByteArray *frames_fragment(const Ends *ends, guint8 protocol, guint32 id, guint at, gboolean has_more, GByteArray *part_take);
GByteArray *frames_ether(guint n_tags, GByteArray *ip_take);

/* A capture in memory. */
typedef struct {
    GByteArray *file;
    gboolean is_ng;
    guint n_packets;
    guint64 last_at; /* offset of the last record */
} Frames;
void frames_begin(Frames *frames, guint link, gboolean is_ng);
void frames_clear(Frames *frames);
/* A record of a packet, of which the last n_cut octets are not captured. One second after the one before. */
void frames_add(Frames *frames, GByteArray *frame_take, gsize n_cut);
/* The same behind IP and Ethernet, by the ends' family. */
void frames_add_ip(Frames *frames, const Ends *ends, guint8 protocol, GByteArray *payload_take);
void frames_add_tcp(Frames *frames, const Ends *ends, guint flags, guint32 sequence, GByteArray *payload_take);
/* Something of everything, on Ethernet. */
void frames_add_all(Frames *frames);
