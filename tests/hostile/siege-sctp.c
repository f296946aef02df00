/* What siege.c says of SCTP: an outsider below DTLS, or in its handshake. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/hostile/siege.h"
#include "tests/tools/sctp-checksum.h"
#include "transport/address.h"

#define TURN_MS 50
#define RECORD_HEADER 13u
#define HANDSHAKE_HEADER 12u
#define PACKET_HEADER 12u
/* A record of the second epoch that waits for others, and is as long as any. */
#define AHEAD 1000u
#define RECORDS_PER_TURN 32u

/* ---- associations ---- */

typedef struct {
    SamiSctpAssoc *assoc;
    guint n_said;
    gboolean is_short; /* what it says; few, for the log names ten only */
} Held;

typedef void (*Say)(Held *held);

static gboolean
send_record(Held *held, guint8 type, guint8 epoch, guint number, const guint8 *octets, gsize n)
{
    guint8 record[RECORD_HEADER + SAMI_MESSAGE_MAX_SCTP] = { type, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, (guint8) (number >> 8), (guint8) number,
                                                             (guint8) (n >> 8), (guint8) n };
    memcpy(record + RECORD_HEADER, octets, n);
    gboolean is_sent = sami_sctp_assoc_send(held->assoc, 0, record, RECORD_HEADER + n, FALSE) == SAMI_SCTP_DONE;
    held->n_said += is_sent;
    return is_sent;
}

/* An octet of a ClientHello of 512. */
static void
say_slowly(Held *held)
{
    guint i = held->n_said % 512;
    const guint8 part[HANDSHAKE_HEADER + 1] = { 1, 0, 2, 0, 0, 0, 0, (guint8) (i >> 8), (guint8) i, 0, 0, 1 };
    send_record(held, 22, 0, held->n_said, part, sizeof part);
}

/* Records under a key that nobody has yet: the first ones OpenSSL would keep, those behind wait for the ones between. */
static void
say_early(Held *held)
{
    static const guint8 octets[SAMI_MESSAGE_MAX_SCTP];
    guint n = held->n_said;
    for (guint end = n + RECORDS_PER_TURN; n < end; n++)
        if (!send_record(held, n % 2 ? 22 : 23, 1, n < 60 ? n : AHEAD + n, octets, held->is_short ? 100 : sizeof octets))
            break;
}

/* Much, in small messages: none of it can be delivered, see drop_first(). */
static void
say_much(Held *held)
{
    static const guint8 octets[1000];
    for (guint i = 0; i < RECORDS_PER_TURN && send_record(held, 22, 0, held->n_said, octets, sizeof octets); i++)
        ;
}

/* What is sent first in each association never leaves, however often it is repeated. */
static ssize_t
drop_first(int fd, const struct msghdr *message, int flags)
{
    static guint32 first[65536]; /* by port */
    const guint8 *packet = message->msg_iov[0].iov_base;
    gsize n = message->msg_iov[0].iov_len, at = PACKET_HEADER;
    guint port = (guint) packet[0] << 8 | packet[1];
    while (at + 8 <= n) {
        guint32 tsn;
        memcpy(&tsn, packet + at + 4, sizeof tsn);
        if (packet[at] == 1)
            first[port] = 0;
        if (packet[at] == 0 && !first[port])
            first[port] = tsn;
        if (packet[at] == 0 && first[port] == tsn)
            return (ssize_t) n;
        at += MAX(4, (((gsize) packet[at + 2] << 8 | packet[at + 3]) + 3) & ~(gsize) 3);
    }
    return sendmsg(fd, message, flags);
}

static void
hold_associations(const Siege *siege, Say say)
{
    g_autofree Held *held = g_new0(Held, siege->n);
    guint64 n_opened = 0, n_cut = 0;
    while (!siege_is_over(siege)) {
        for (guint i = 0; i < siege->n; i++) {
            SamiSctpState state = held[i].assoc ? client_sctp_state(held[i].assoc) : SAMI_SCTP_LOST;
            if (state == SAMI_SCTP_UP && say)
                say(&held[i]);
            if (state == SAMI_SCTP_UP || state == SAMI_SCTP_CONNECTING)
                continue;
            n_cut += held[i].assoc != NULL;
            sami_sctp_assoc_free(held[i].assoc);
            held[i] = (Held){ client_sctp_begin(siege->identity), 0, n_opened++ < 4 };
        }
        for (gint64 end_us = g_get_monotonic_time() + TURN_MS * 1000; g_get_monotonic_time() < end_us;)
            client_sctp_turn(TRUE);
    }
    g_print("%" G_GUINT64_FORMAT " associations, %" G_GUINT64_FORMAT " of them cut\n", n_opened, n_cut);
}

void siege_sctp_silent(const Siege *siege) { hold_associations(siege, NULL); }
void siege_sctp_slow(const Siege *siege) { hold_associations(siege, say_slowly); }
void siege_sctp_early(const Siege *siege) { hold_associations(siege, say_early); }

void
siege_sctp_gaps(const Siege *siege)
{
    client_sctp_send_by(drop_first);
    hold_associations(siege, say_much);
}

/* ---- datagrams ---- */

typedef struct {
    struct iphdr ip;
    struct udphdr udp;
    guint8 packet[1400];
} Datagram;

/* A chunk of `type` with nothing sensible in it, in a packet that is right as far as a sum can say. */
static gsize
fill_packet(guint8 *packet, guint8 type, guint16 port, gsize n)
{
    const guint8 head[] = { (guint8) g_random_int(), (guint8) g_random_int(), (guint8) (port >> 8), (guint8) port };
    memcpy(packet, head, sizeof head);
    packet[PACKET_HEADER] = type;
    packet[PACKET_HEADER + 2] = (guint8) ((n - PACKET_HEADER) >> 8);
    packet[PACKET_HEADER + 3] = (guint8) (n - PACKET_HEADER);
    if (type == 1) { /* INIT: tag, window, streams and TSN that any association may have, and no tag in the packet */
        memset(packet + 4, 0, 4);
        memcpy(packet + PACKET_HEADER + 8, (guint8[]){ 0, 16, 0, 0, 255, 255, 255, 255 }, 8);
    }
    sctp_set_checksum(packet, n);
    return n;
}

static gsize
fill_strange(guint8 *packet, guint i, guint16 port)
{
    static const guint8 types[] = { 0, 3, 4, 6, 10, 14, 15, 64, 192 }; /* DATA, SACK, HEARTBEAT, ABORT, COOKIE ECHO, ..., AUTH, I-DATA, FORWARD TSN */
    switch (i % 8) {
    case 0: return i % 200 + 1;
    case 1: return fill_packet(packet, types[i / 8 % G_N_ELEMENTS(types)], port, PACKET_HEADER + 100);
    case 2: return fill_packet(packet, 1, port, 1000);
    default: return fill_packet(packet, 1, port, PACKET_HEADER + 20);
    }
}

/* N datagrams a millisecond, each from another address and port: INITs, mostly, and what nobody has asked for. */
void
siege_sctp_datagrams(const Siege *siege)
{
    static Datagram datagram;
    struct sockaddr_in to = { .sin_family = AF_INET };
    g_autofree gchar *host = NULL, *port = NULL;
    guint64 n_sent = 0;
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    if (fd < 0 || !sami_address_split(siege->identity->peer->addresses[0], &host, &port, NULL) || inet_pton(AF_INET, host, &to.sin_addr) != 1)
        die("no raw socket, or no IPv4 address");
    for (guint i = 0; !siege_is_over(siege); g_usleep(1000)) {
        for (guint k = 0; k < siege->n; k++, i++) {
            for (gsize at = 0; at < sizeof datagram.packet; at += 4) {
                guint32 word = g_random_int();
                memcpy(datagram.packet + at, &word, 4);
            }
            gsize n = fill_strange(datagram.packet, i, (guint16) g_ascii_strtoull(port, NULL, 10));
            datagram.ip = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP, .daddr = to.sin_addr.s_addr,
                                          .saddr = htonl((ntohl(to.sin_addr.s_addr) & ~255u) + 100 + g_random_int() % 100),
                                          .tot_len = htons((guint16) (sizeof datagram.ip + sizeof datagram.udp + n)) };
            datagram.udp = (struct udphdr){ .uh_sport = (guint16) g_random_int(), .uh_dport = htons((guint16) siege->identity->config->sctp_udp_port),
                                            .uh_ulen = htons((guint16) (sizeof datagram.udp + n)) };
            n_sent += sendto(fd, &datagram, sizeof datagram.ip + sizeof datagram.udp + n, 0, (struct sockaddr *) &to, sizeof to) >= 0;
        }
    }
    close(fd);
    g_print("%" G_GUINT64_FORMAT " datagrams\n", n_sent);
}
