/* sami-vmstate: a helper of QEMU's dbus-vmstate object. Internal to packaging/qemu/.
 *
 * QEMU calls Save on the source when the VM is stopped, and Load on the destination before it resumes; both block the VM. Each call
 * runs in a thread of its own, because the control protocol is read blocking, and is answered from the main loop: by the thread, or by
 * a timer if the daemon hangs. Whichever comes first counts. One Save and one Load are under way; more are refused.
 * Source: docs/interop/dbus-vmstate.rst and backends/dbus-vmstate.c of QEMU 7.2. */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "common/control.h"
#include "packaging/qemu/token.h"

typedef enum { SAMI_LATE_WAIT, SAMI_LATE_RESUME, SAMI_LATE_ABORT } SamiLate;
/* What becomes of the migration when QEMU's has failed and the VM goes on at the source. THAW keeps it warm for the next attempt. */
typedef enum { SAMI_FAILURE_ABORT, SAMI_FAILURE_THAW } SamiFailure;

/* QEMU's calls end after GDBus's 25 s, and an error that comes later is none. */
#define SAMI_LOAD_WAIT_MAX_MS 20000u

typedef struct {
    gchar *id;         /* the helper's, in the stream; 1 to 255 octets */
    gchar **vm;        /* addresses; empty: this helper never saves */
    guint vlan;        /* of vms.d; 0: none */
    gchar *to;         /* (nullable) peer that a migration of our own goes to */
    gchar *exporter;   /* control sockets */
    gchar *collector;
    guint deadline_ms; /* from Save to the end of Load */
    SamiLate on_late;
    SamiFailure on_failure;
    gboolean has_monitor; /* it tells how the move ends, and a READY is held until then */
    guint retry_ms;    /* a migration that was thawed is aborted when no attempt has come for this long; 0: never */
} SamiVmstateOptions;

typedef struct SamiVmstate SamiVmstate;

struct SamiVmstate {
    const SamiVmstateOptions *options;
    GMainLoop *loop;
    int status;                /* of the process */
    guint n_saves, n_loads, n_late;
    struct SamiVmstateCall *under_way[2]; /* Save and Load that are not answered yet; (nullable). This and the next: main loop only */
    gboolean has_thread[2];
    guint retry_timer;         /* runs between a thaw and the next attempt. Main loop only */
    GMutex lock;               /* of what follows */
    GCond undone;              /* n_undoing is 0 */
    gchar own[33];             /* id of the migration that we started or froze for this move; "" */
    gchar saved[33];           /* of the one that the last Save froze; "" */
    gboolean is_own_started;   /* by us, for the move that QEMU's monitor has told of */
    gboolean is_own_running;
    gboolean is_own_dropped;   /* it still runs, but its move has failed: it is being aborted */
    gboolean is_own_wanted;    /* another move has begun meanwhile: one more of ours follows it */
    guint n_undoing;           /* aborts and thaws on their way to the exporter */
};

/* --- vmstate.c --- */
/* Exports the object and asks for the name, which may be owned by others already: QEMU calls everybody in the queue. */
gboolean sami_vmstate_export(SamiVmstate *self, GDBusConnection *bus, GError **error);

/* --- source.c: these block, and are called in threads --- */
/* Freezes the VM's migration and waits for READY until end_us of the monotonic clock. Never fails: *ret_token says how it went. */
void sami_vmstate_save(SamiVmstate *self, gint64 end_us, SamiToken *ret_token);

/* --- source.c: these do not block; main loop only --- */
/* Another attempt has come: what was thawed for it stays. */
void sami_vmstate_attempt(SamiVmstate *self);
/* QEMU's monitor tells of a move that begins: starts a migration of our own if options->to is set and none is there that follows still. */
void sami_vmstate_move_began(SamiVmstate *self);
/* It has succeeded, so what Save has frozen may come to its end; in a thread. */
void sami_vmstate_move_completed(SamiVmstate *self);
/* The move has failed and the VM runs here: takes back what we started or froze for it, in a thread, as options->on_failure says.
 * A Save that comes meanwhile waits for it. */
void sami_vmstate_move_failed(SamiVmstate *self);

/* --- gate.c: blocks, in a thread --- */
/* TRUE: the VM may go on. SAMI_ERROR_REFUSED: READY cannot come any more, SAMI_ERROR_FAILED: it did not come in time. */
gboolean sami_vmstate_load(SamiVmstate *self, const SamiToken *token, GError **error);
/* How long sami_vmstate_load() may take. */
guint sami_vmstate_load_limit_ms(const SamiVmstate *self, const SamiToken *token);

/* --- helpers --- */
/* A request of cmd and, if not NULL, id. (transfer full) */
JsonObject *sami_vmstate_request(const gchar *cmd, const gchar *id);
