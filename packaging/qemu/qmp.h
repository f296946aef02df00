/* QEMU's machine protocol, as far as it says how a migration goes: MIGRATION events (QEMU 2.4 and later, capability `events`), and STOP and
 * RESUME, which say whether the VM runs here. */
#pragma once

#include "packaging/qemu/vmstate.h"

typedef struct SamiQmp SamiQmp;

/* Listens on QEMU's monitor at the Unix socket `path`, which is then ours alone: QEMU serves one client a socket. A migration that
 * begins starts one of ours if options->to is set; one that fails or is cancelled takes it back (options->on_failure), but not before the
 * VM runs here again. The end of the monitor is logged, and nothing follows from it: QEMU ends when it has moved. */
SamiQmp *sami_qmp_new(SamiVmstate *self, const gchar *path, GError **error);
void sami_qmp_free(SamiQmp *qmp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SamiQmp, sami_qmp_free)
