/* What the files of the verb `send` share. send.c reads the command line; send-migration.c is --to, with send-begin.c, send-plain.c is --udp and
 * --tcp; send-say.c prints what a collector answers. */
#pragma once

#include "replay/keys.h"
#include "replay/pace.h"
#include "templates/validate.h"

/* --to: to a collector of ours or, without receipts, to another one over TLS. */
SamiExit replay_send_migration(Replay *replay, const ReplayPace *pace, GError **error);

/* Reads the recording up to its begin: whose state it is, and which kinds. Lease and destination are left 0. *ret_vm, of SamiPrefix, is (transfer full).
 * SAMI_ERROR_USAGE: only --vm can say; SAMI_ERROR_REFUSED: it cannot be sent. */
gboolean replay_find_begin(const Replay *replay, const ReplayKeys *keys, GArray **ret_vm, SamiBegin *ret_begin, GError **error);

typedef struct {
    const gchar *endpoint;
    gboolean is_udp;
    ReplayPace pace;
    gsize mtu;           /* UDP only, as what follows */
    guint every;         /* templates are repeated after so many Messages */
    guint64 every_ms;    /* or so long; 0: not for that reason */
} ReplayPlain;
SamiExit replay_send_plain(Replay *replay, const ReplayPlain *plain, GError **error);

/* --- answers, on standard output --- */
typedef struct {
    gboolean is_json, is_quiet;
    const gchar *peer;
    ReplayProgress *progress; /* (nullable) of now */
    guint n_told, n_untold;   /* refusals, as text */
    SamiKindCount kinds[2];   /* the last ones: cumulative data, expectations */
} ReplaySay;

void replay_say_opened(ReplaySay *say, const gchar *id, guint32 lease_s);
void replay_say_refusal(ReplaySay *say, const SamiRefusal *refusal);
void replay_say_receipt(ReplaySay *say, const SamiReceipt *receipt);
void replay_say_kind_count(ReplaySay *say, const SamiKindCount *count);

/* The end: one line, or an object with the same numbers; `error` (nullable) goes to standard error. */
typedef struct {
    const gchar *name;
    guint64 n;
} ReplayNumber;
void replay_say_end(ReplaySay *say, SamiExit code, const gchar *result, const gchar *error, const ReplayNumber *numbers, guint n_numbers,
                    const guint64 *refused_by, const guint64 *degraded_by);
