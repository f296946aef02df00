/* inject: what it has counted, and how it says so. Internal to replay/inject*.c. */
#pragma once

#include "replay/filter.h"
#include "replay/strict.h"
#include "replay/target.h"

#define INJECT_LISTED 20u /* refused records a reason that are named; --json names all that the engine lists */

typedef struct {
    const Replay *replay;
    const gchar *path;        /* of the file that is being read */
    ReplayProgress progress;
    ReplayKeys *keys;
    ReplayFilter *filter;
    ReplaySink sink;
    SamiSignerHost host; /* of the sink */
    GHashTable *sources;      /* Transport Session of the file -> Source; see inject.c */
    GHashTable *by_id;        /* migration id (16 octets) -> ReplayTarget, of all files */
    GPtrArray *targets;       /* of ReplayTarget, in the order of their beginnings */
    gboolean has_count;
    guint64 n_left;           /* of --count */
    guint64 n_messages, n_messages_refused, n_unread, n_answers, n_faults;
    guint64 listed[SAMI_N_REASONS]; /* of a reason; NONE: of those whose time was over */
} Inject;

/* One record, as ReplaySink.list; user_data is the Inject. */
void inject_list(const SamiRefusal *refusal, gboolean is_expired, gpointer user_data);
/* A Message at `offset` with which reading its session ended. */
void inject_tell_message(Inject *inject, guint64 offset, SamiReason reason, const gchar *text);
/* What of the file's rest was left alone. */
void inject_tell_unread(Inject *inject, guint64 n);
void inject_tell_fault(Inject *inject, guint64 offset, const gchar *text);
/* Everything that was counted; the exit status. */
SamiExit inject_summary(Inject *inject);
