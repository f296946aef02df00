/* Kinds of state beside sessions, at their source: what a new one provides, and one place where all of them are driven.
 *
 * A kind is a row of sami_source_kinds. Its records are copied in passes: whole with the snapshot, what is new before the freeze marker while that is
 * little, and what has changed in SETTLE. Nothing that goes wrong with a kind stops the sessions. See templates/README for all the steps of adding
 * one. */
#pragma once

#include "exporter/exporter.h"

typedef enum {
    SAMI_PASS_SNAPSHOT, /* after the sessions' dump, while the VM runs */
    SAMI_PASS_FREEZE,   /* the VM stands still: only what is done in a millisecond or two */
    SAMI_PASS_SETTLE,   /* after READY: everything that is not there yet */
} SamiPass;

typedef struct {
    const gchar *name;     /* in status and in metrics, as at the collector */
    guint32 bit;           /* of begin's samiStateKinds */
    SamiRecordKind record;
    /* NULL: nothing of this kind is to be sent; it is not announced then. */
    gpointer (*open)(SamiMigration *m);
    void (*start)(gpointer state, SamiPass pass);
    /* A bounded piece of work: no more than a part of a dump. Sends with sami_kinds_send(). FALSE: the pass is over. */
    gboolean (*step)(gpointer state);
    /* Messages were lost for good: what was sent may not have arrived. */
    void (*forget)(gpointer state);
    void (*describe)(gpointer state, JsonObject *object);
    void (*close)(gpointer state);
} SamiSourceKind;

extern const SamiSourceKind *const sami_source_kinds[];
extern const guint sami_n_source_kinds;
extern const SamiSourceKind sami_source_cumulative; /* cumulative.c */

/* For a kind: FALSE if the migration has failed. */
gboolean sami_kinds_send(SamiMigration *m, const SamiRecord *record);

/* For the migration. Bits of begin's samiStateKinds; opens what is to be sent. */
guint32 sami_kinds_open(SamiMigration *m);
void sami_kinds_close(SamiMigration *m);
/* TRUE: `done` is called when the pass is over, and not if it is stopped or another one begun; a pass of the same kind that runs goes on. FALSE: there is
 * nothing to be sent. */
gboolean sami_kinds_run(SamiMigration *m, SamiPass pass, void (*done)(SamiMigration *m));
void sami_kinds_stop(SamiMigration *m);
/* All of it at once, whether or not there is room. */
void sami_kinds_freeze(SamiMigration *m);
/* There is room in the link. */
void sami_kinds_update(SamiMigration *m);
void sami_kinds_forget(SamiMigration *m);
/* The collector's count of a kind. FALSE: it cannot be true. */
gboolean sami_kinds_believes(const SamiMigration *m, const SamiKindCount *count);
void sami_kinds_counted(SamiMigration *m, const SamiKindCount *count);
guint64 sami_kinds_n_sent(const SamiMigration *m);
guint64 sami_kinds_n_refused(const SamiMigration *m);
void sami_kinds_describe(const SamiMigration *m, JsonObject *counts);
