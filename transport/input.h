/* Whole IPFIX Messages out of what was recorded: IPFIX files (RFC 5655), journals, and captures (pcap, pcapng).
 *
 * Which of them it is, is seen at its first octets. Everything is read once, from the front, so a pipe will do, and memory does not grow with
 * the input: see the limits below. Nothing of a Message is looked at but its header (version, Length). Blocks on reading. */
#pragma once

#include "common/error.h"
#include "common/limits.h"

/* What carried a Message. */
typedef enum { SAMI_CARRIER_FILE, SAMI_CARRIER_UDP, SAMI_CARRIER_TCP, SAMI_CARRIER_SCTP, SAMI_CARRIER_TLS } SamiCarrier;
/* "file", "udp", … */
const gchar *sami_carrier_name(SamiCarrier carrier);

typedef struct {
    const guint8 *octets; /* the Message; writable for who puts it back as it was, valid until the next call */
    gsize length;         /* as its header says, 16..65535 */
    guint64 offset;       /* in the input: of the Message in a file, of the packet that completed it in a capture */
    guint32 session;      /* Transport Session within the input, from 0 (a file is one): templates belong to it. G_MAXUINT32: a fault of none */
    SamiCarrier carrier;
    guint16 sctp_stream;
    gint64 time_ns;       /* when it was captured, since 1970; 0: nobody wrote that down */
    const gchar *ends;    /* "192.0.2.1:40000 > 192.0.2.2:4739" of a capture, "" of a file; valid as `octets` */
} SamiInputMessage;

typedef enum {
    SAMI_INPUT_MESSAGE, /* one Message */
    SAMI_INPUT_FAULT,   /* what stands at ret->offset breaks a rule; `fault` says which (SAMI_ERROR_MALFORMED). Go on: the next call looks behind it */
    SAMI_INPUT_CLOSED,  /* the Transport Session ret->session has ended, or was given up for a limit: its templates are gone */
    SAMI_INPUT_WAIT,    /* of an input that is followed: nothing more there now */
    SAMI_INPUT_END,     /* nothing more; or reading failed, then `fault` is set (SAMI_ERROR_FAILED) */
} SamiInputStatus;

typedef struct {
    gboolean is_following;   /* an end of a file is where more will be written */
    const gchar *key_log;    /* (nullable) file of TLS secrets (SSLKEYLOGFILE form) for TLS 1.3 in a capture */
    const guint16 *ports;    /* of a capture: only to or from these; n_ports 0: whatever begins like IPFIX (or TLS, at 4740) */
    guint n_ports;
} SamiInputOptions;

typedef struct SamiInput SamiInput;

/* path "-": standard input. `options` are copied. SAMI_ERROR_FAILED if it cannot be read, SAMI_ERROR_MALFORMED if its first octets are of none of the forms (the
 * message says what they look like: gzip, text, TLS records …). */
SamiInput *sami_input_open(const gchar *path, const SamiInputOptions *options, GError **error);
void sami_input_free(SamiInput *input);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiInput, sami_input_free)
SamiInputStatus sami_input_next(SamiInput *input, SamiInputMessage *ret, GError **fault);
/* Octets read so far, and of the whole input; 0: not known (a pipe). */
void sami_input_progress(const SamiInput *input, guint64 *ret_read, guint64 *ret_size);
/* What an input is, for stats: "IPFIX file", "pcap", "pcapng". */
const gchar *sami_input_form(const SamiInput *input);

/* What was in a capture beside Messages. All 0 of a file. */
typedef struct {
    guint64 n_packets;     /* records of the capture */
    guint64 n_other;       /* not IPFIX: another protocol, another port, a stream that does not begin like it */
    guint64 n_fragments;   /* IP fragments */
    guint64 n_lost_octets; /* of TCP streams, that the capture does not have */
    guint64 n_differing;   /* octets of TCP streams that came twice and not the same while they waited for others: the first copy was taken */
    guint64 n_cut;         /* packets that were captured in part (snaplen) */
    guint64 n_sessions;    /* Transport Sessions seen */
} SamiInputCounts;
void sami_input_counts(const SamiInput *input, SamiInputCounts *ret);

/* Limits on what a capture can make us keep. */
#define SAMI_INPUT_STREAMS_MAX 4096u            /* Transport Sessions, each direction one, at once; beyond it the one that was silent longest is CLOSED */
#define SAMI_INPUT_STREAM_PENDING (256u * 1024u) /* octets of one stream that wait for a gap before them, or for the rest of their Message */
#define SAMI_INPUT_PENDING_MAX (64u * 1024u * 1024u) /* the same of all streams, and of IP fragments */
