/* What the files of a migration share: migration.c (states), session.c (Transport Sessions), say.c (records about the stream). */
#pragma once

#include "exporter/exporter.h"

/* migration.c */
/* A freeze marker is, or may be, at the collector: what fails from here on is in doubt. */
gboolean sami_migration_is_undecided(const SamiMigration *m);
/* A new generation: everything is dumped again. */
void sami_migration_start_epoch(SamiMigration *m);
/* The snapshot begins. SAMI_ERROR_KERNEL, SAMI_ERROR_PERMISSION. */
gboolean sami_migration_open_source(SamiMigration *m, GError **error);
/* Of one that is over, the last Message is out or the session gone; a GSourceFunc. */
gboolean sami_migration_drained(gpointer user_data);

/* session.c */
/* Counts the lease for the answer that is waited for, if one is. */
void sami_migration_plan_answer(SamiMigration *m);
/* Asks the connector for a session. SAMI_ERROR_FAILED: it is gone. */
gboolean sami_migration_connect(SamiMigration *m, GError **error);
/* A hello-reply that counts. */
void sami_migration_bound(SamiMigration *m, const SamiHelloReply *reply);

/* say.c. A record that cannot be encoded has failed the migration. */
void sami_say_types(SamiMigration *m);
/* With the VM's addresses, and out at once. */
void sami_say_begin(SamiMigration *m);
void sami_say_epoch(SamiMigration *m, guint8 phase); /* 1 begins, 2 ends */
void sami_say_abort(SamiMigration *m, guint8 reason);
void sami_say_statistics(SamiMigration *m);
/* Statistics and end, in the last Message. */
void sami_say_end(SamiMigration *m);
