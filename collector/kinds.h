/* Kinds of state beside sessions, at their destination: what a new one provides, and one place where all of them are driven.
 *
 * A kind is a row of sami_sink_kinds: its functions run in a thread of their own, one after the other, so they may block as long as the kernel
 * works; nothing of a kind ever holds up the injection of sessions, and nothing that goes wrong with it stops them. See templates/README for
 * all the steps of adding one. */
#pragma once

#include "common/config.h"
#include "templates/records.h"
#include "templates/validate.h"

/* What became of the records of one call, or of a migration so far. */
typedef struct {
    guint64 n_records, n_applied, n_unchanged, n_refused, n_undone;
    guint64 n_lost; /* what was counted here while a record was written: gone */
    guint64 refused[SAMI_N_REASONS], degraded[SAMI_N_REASONS];
    GArray *refusals; /* (nullable) of SamiRefusal, not yet sent */
} SamiKindCounts;

/* What a kind knows of a migration. Never changes; lives as long as the state. */
typedef struct {
    const SamiConfig *config;
    const gchar *peer;      /* name of the firewall at the other end */
    const SamiPrefix *vm;
    guint n_vm;
    guint64 max_elements;   /* that it may make, of the signer; 0: no limit of its own */
    const gchar *log_path;  /* (nullable) a file for what an undo needs after a restart; removed when the migration is forgotten */
    GPtrArray *siblings;    /* of the states of this kind of all migrations that may still be undone, this one too */
} SamiKindContext;

typedef struct {
    const gchar *name;     /* the word in a signer's kinds=, in status and in metrics */
    guint32 bit;           /* of begin's samiStateKinds */
    SamiRecordKind record; /* of which it takes */
    gsize size;            /* octets of that record's struct */
    /* Before the first records and before an undo; goes on with what log_path says. NULL with error: its records are refused. */
    gpointer (*open)(const SamiKindContext *context, GError **error);
    /* n records, in order; read at the source age_ms ago. `counter` is of their Message. Applied again they change nothing. */
    void (*apply)(gpointer state, gconstpointer records, guint n, guint64 age_ms, guint64 counter, SamiKindCounts *counts);
    /* Takes back what was applied, and nothing else. */
    void (*undo)(gpointer state, SamiKindCounts *counts);
    void (*close)(gpointer state);
} SamiSinkKind;

extern const SamiSinkKind *const sami_sink_kinds[];
extern const guint sami_n_sink_kinds;
extern const SamiSinkKind sami_sink_cumulative; /* cumulative.c */

/* For a kind: one record refused, or taken with something missing. `detail` (nullable) is listed for the operator at the source; without it the record
 * is only counted. */
void sami_kind_refuse(SamiKindCounts *counts, SamiReason reason, guint64 counter, const gchar *detail);
void sami_kind_degrade(SamiKindCounts *counts, SamiReason reason, guint64 counter, const gchar *detail);
