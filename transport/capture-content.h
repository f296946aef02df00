/* What the two directions of a TCP connection carry: Messages, TLS that has to be decrypted first, or something else. It gets octets in order.
 *
 * At a port that is expected (sami_capture_is_expected()) a stream is TLS if it begins like it, and else has to be Messages. At another one it is taken
 * if it begins like a Message, or, when the capture began inside it, if one is found within SAMI_CAPTURE_SEARCH_MAX octets.
 *
 * TLS without a key log is one fault a connection. With one, the octets of both directions go to sami_tls_decrypt_feed() as they come in order; a
 * direction with a gap, or one that does not decrypt, is a fault and then CLOSED, since nothing behind it can be read. */
#pragma once

#include "transport/capture-cutter.h"
#include "transport/tls-decrypt.h"

/* What a decrypted direction counts for among what is kept: its records and hellos. Not all that a hostile one can make us keep (tls-decrypt.h), but
 * a bound on it. */
#define SAMI_CONTENT_TLS_COST (48u * 1024u)

typedef enum {
    SAMI_CONTENT_UNDECIDED,
    SAMI_CONTENT_MESSAGES,
    SAMI_CONTENT_TLS,
    SAMI_CONTENT_OTHER, /* or given up */
} SamiContentKind;

typedef struct {
    SamiContentKind kind;
    SamiCaptureSession *session;
    SamiCutter cutter;
    gboolean has_cutter;
    gboolean is_inside;   /* the capture does not have its beginning */
    gboolean is_doubtful; /* nobody said that there is IPFIX, and none was found yet */
    guint n_head;
    guint8 head[24];      /* the first octets, while undecided */
    gsize n_searched;
} SamiContentSide;

typedef struct {
    SamiCaptureCommon *common;
    gboolean is_expected;
    const SamiKeyLog *key_log; /* (nullable) */
    SamiTlsDecrypt *tls;   /* (nullable) */
    guint client;          /* which side is the TLS client */
    gboolean is_told;      /* that it is TLS */
    SamiContentSide sides[2];
} SamiContent;

/* All are borrowed; sessions[2], key_log (nullable). client: the side that opened the connection, as far as is known. */
void sami_content_init(SamiContent *content, SamiCaptureCommon *common, SamiCaptureSession *sessions, gboolean is_expected, guint client,
                       const SamiKeyLog *key_log);
void sami_content_clear(SamiContent *content);
/* n: the side, 0 or 1. The capture has no beginning of it: it may begin with any octet. Before anything is pushed. */
void sami_content_begin_inside(SamiContent *content, guint n);
void sami_content_push(SamiContent *content, guint n, const guint8 *octets, gsize length);
void sami_content_gap(SamiContent *content, guint n, guint64 length);
/* Nothing more comes from this side. Does not close its session. */
void sami_content_end(SamiContent *content, guint n);
/* Is it IPFIX (or has to be, or is TLS)? Both FALSE: too little is there to tell. */
gboolean sami_content_is_ours(const SamiContent *content);
gboolean sami_content_is_other(const SamiContent *content);
