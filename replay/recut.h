/* Messages of one Transport Session for UDP: none longer than a datagram should be, and templates again and again (RFC 7011 §8.4, §10.3).
 *
 * Pure: no socket, no clock. Knows of IPFIX what RFC 7011 says, not what is in the records, so foreign files will do. While every Message fits, it is
 * passed on octet for octet, with Messages of templates between; that changes no Sequence Number. The first one that does not fit, or that withdraws a
 * template (not allowed on UDP, §8.1), begins the re-cutting of that Observation Domain: from there on Sets are divided between records, SAMI's
 * signature Sets, which cannot hold any more, are left out, and Sequence Numbers are corrected. */
#pragma once

#include "common/error.h"
#include "common/limits.h"

#define REPLAY_RECUT_MTU_MIN 256u
#define REPLAY_RECUT_MTU_MAX 65507u /* payload of a UDP datagram over IPv4 */
/* Of one Transport Session; beyond them a Set without a known template is passed on as one piece, and its template is not repeated. */
#define REPLAY_RECUT_TEMPLATES_MAX 4096u
#define REPLAY_RECUT_OCTETS_MAX (1024u * 1024u)
#define REPLAY_RECUT_DOMAINS_MAX 64u /* Observation Domains; a Message of another one is refused */

typedef struct ReplayRecut ReplayRecut;

typedef struct {
    guint64 n_out;          /* Messages given out, those of templates included */
    guint64 n_refreshes;    /* of them, Messages of repeated templates */
    guint64 n_cut;          /* Messages that were made anew */
    guint64 n_unsigned;     /* signature Sets left out */
    guint64 n_withdrawals;  /* left out */
    guint64 n_long;         /* pieces that are longer than the MTU: one record, template, or Set without a template, that cannot be divided */
    guint64 n_dropped;      /* of such, longer than a datagram: not given out */
    guint64 n_unremembered; /* templates beyond the limits above */
} ReplayRecutCounts;

/* A whole Message, valid during the call. */
typedef void (*ReplayRecutFunc)(const guint8 *message, gsize length, gpointer user_data);

/* Templates are repeated after `every` Messages, and when `every_ms` have passed; 0: not for that reason. */
ReplayRecut *replay_recut_new(gsize mtu, guint every, guint64 every_ms);
void replay_recut_free(ReplayRecut *recut); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ReplayRecut, replay_recut_free)
/* Takes the next Message, and gives out what is to be sent. SAMI_ERROR_MALFORMED if its Sets do not fill it or a template is none: nothing of it was given
 * out and nothing is known of it; go on with the next one. */
gboolean replay_recut_message(ReplayRecut *recut, const guint8 *message, gsize length, guint64 now_ms, ReplayRecutFunc out, gpointer user_data,
                              GError **error);
const ReplayRecutCounts *replay_recut_counts(const ReplayRecut *recut);
