/* The kernel's side of a migration at its source: snapshot, events, dirty tuples, re-dumps.
 *
 * Invariant (LIFECYCLE §3): for every tuple, the last record sent was read from the kernel after the last event for it was
 * received, or is a delete and the kernel then had none. Events are hints: what is sent for them is read just before. Only a
 * destroy event is taken at its word.
 *
 * Steps are plain calls, so that a test can interleave them at will against the fake kernel; sami_source_attach() lets the main
 * loop make them. One thread. Nothing here knows of Messages. */
#pragma once

#include "firewall/firewall.h"

/* What the kernel's changes mean now. */
typedef enum {
    SAMI_SOURCE_FOLLOW, /* creations, updates, deletions */
    SAMI_SOURCE_LATE,   /* after the freeze marker: creations only (LIFECYCLE §3.8) */
} SamiSourceMode;

typedef struct {
    /* A record to send. FALSE if that failed for good: the owner knows why, the source stops what it is doing. */
    gboolean (*record)(const SamiSession *session, SamiAction action, gpointer user_data);
    /* What was dirty has been sent by the main loop's own turn. */
    void (*sent)(gpointer user_data);
    /* A dump has ended; what became dirty meanwhile is still dirty. */
    void (*dumped)(gpointer user_data);
    /* Events were lost: nothing is known but by a new dump. Dirty tuples and the running dump are given up. */
    void (*overrun)(gpointer user_data);
    void (*failed)(const gchar *text, gpointer user_data);
    /* TRUE: no room for more; call sami_source_update() when there is. */
    gboolean (*is_full)(gpointer user_data);
    /* (nullable) FALSE: this flow is not ours to send, nor is its end. An event names no more than key, id and start time. */
    gboolean (*is_ours)(const SamiSession *session, gpointer user_data);
} SamiSourceOps;

/* What belongs to the VM. */
typedef struct {
    const SamiPrefix *vm; /* (transfer none), must outlive the source */
    guint n_vm;
    gboolean has_zone, has_mark;
    guint16 zone;
    guint32 mark;
    guint64 events_since_ns; /* entries that started earlier may be silent (LIFECYCLE §2); G_MAXUINT64: all may be */
} SamiSourceScope;

typedef struct SamiSource SamiSource;

/* Opens the event socket and passes its barrier, so that nothing later is missed. Takes the firewall handle, also on failure. */
SamiSource *sami_source_new(SamiFirewall *firewall_take, const SamiSourceScope *scope, const SamiSourceOps *ops, gpointer user_data, GError **error);
void sami_source_free(SamiSource *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiSource, sami_source_free)

void sami_source_set_mode(SamiSource *source, SamiSourceMode mode);
/* Starts a dump of the scope; a running one is given up. */
gboolean sami_source_dump(SamiSource *source, GError **error);
gboolean sami_source_is_dumping(const SamiSource *source);

/* One step each; FALSE after overrun() or failed(). */
gboolean sami_source_read_events(SamiSource *source, guint max);
gboolean sami_source_read_dump(SamiSource *source); /* drains the events first, then takes one part */
/* Reads what is dirty from the kernel, in batches, and sends it. Stops early when is_full() unless `is_all`. FALSE after failed(). */
gboolean sami_source_send_dirty(SamiSource *source, gboolean is_all);
/* Flows whose payload a helper may have changed in length become dirty: a sequence adjustment that grows has no event (nf_ct_seqadj_set), and what the
 * destination does not know of it ends the connection. Before the last sami_source_send_dirty(). */
void sami_source_mark_adjusted(SamiSource *source);
/* LIFECYCLE §4: after TRUE everything that happened before the call has been seen. FALSE after overrun() or failed(). */
gboolean sami_source_barrier(SamiSource *source);

/* The main loop makes the steps from now on; changes are gathered for 2 ms (DESIGN §8). */
void sami_source_attach(SamiSource *source);
void sami_source_update(SamiSource *source);

guint sami_source_n_dirty(const SamiSource *source);
/* Entries of the last dump that may be silent; not 0: only a re-dump proves what they are. */
guint64 sami_source_n_silent(const SamiSource *source);
/* Entries that name the VM without being its own end; of the last dump that saw the whole table: the first one, and those of a VM that has much
 * of it. */
guint64 sami_source_n_not_vm_end(const SamiSource *source);
/* Is the VM an end of it, and is it ours? */
gboolean sami_source_selects(const SamiSource *source, const SamiSession *session);
/* For what the owner does to entries at the source itself; its events do not come back. (transfer none) */
SamiFirewall *sami_source_firewall(SamiSource *source);
