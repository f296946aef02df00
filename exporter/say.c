/* The records of a stream that are about itself: what it carries, where its parts begin and end, how it ends (PROTOCOL §4). */
#include "exporter/kinds.h"
#include "exporter/migration-internal.h"

#include <unistd.h>

/* RFC 5610: what our own elements are, for any other collector that reads the stream or a journal. */
void
sami_say_types(SamiMigration *m)
{
    for (guint i = 0; i < SAMI_N_ELEMENTS; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_TYPE_INFORMATION };
        if (sami_type_information(i, &record.type_information))
            sami_link_add(m, &record);
    }
}

void
sami_say_begin(SamiMigration *m)
{
    SamiRecord begin = { .kind = SAMI_RECORD_BEGIN };
    guint n_addresses = m->replication && sami_replication_is_unscoped(m->replication) ? 0 : m->vm->len;
    for (guint i = 0; i < n_addresses; i++) {
        SamiRecord record = { .vm_address = g_array_index(m->vm, SamiPrefix, i) };
        record.kind = record.vm_address.family == 4 ? SAMI_RECORD_VM_ADDRESS4 : SAMI_RECORD_VM_ADDRESS6;
        sami_link_add(m, &record);
    }
    begin.begin.n_addresses = (guint16) n_addresses;
    begin.begin.lease_s = m->config->lease_s;
    begin.begin.kinds = SAMI_KIND_SESSION | (m->replication ? SAMI_KIND_REPLICATION : SAMI_KIND_EXPECTATION) | sami_kinds_open(m);
    g_strlcpy(begin.begin.destination, m->peer->name, sizeof begin.begin.destination);
    sami_link_add(m, &begin);
    sami_link_flush(m, FALSE);
}

void
sami_say_epoch(SamiMigration *m, guint8 phase)
{
    SamiRecord record = { .kind = SAMI_RECORD_EPOCH, .epoch = { m->generation, phase } };
    sami_link_add(m, &record);
}

guint64
sami_say_marker(SamiMigration *m, guint8 marker)
{
    SamiRecord record = { .kind = SAMI_RECORD_MARKER, .marker = { marker, m->n_sent, m->freeze_mode } };
    if (!sami_link_add(m, &record))
        return 0;
    guint64 counter = m->stream->counter_out;
    sami_link_flush(m, FALSE);
    return counter;
}

void
sami_say_abort(SamiMigration *m, guint8 reason)
{
    SamiRecord record = { .kind = SAMI_RECORD_ABORT, .abort = { reason, m->state == SAMI_STATE_UNDO ? m->marker_counter : 0 } };
    if (sami_link_add(m, &record))
        sami_link_flush(m, FALSE);
}

/* RFC 7011 §4.3: what was kept back, at the end, and every minute before it once there is something. */
void
sami_say_statistics(SamiMigration *m)
{
    SamiRecord record = { .kind = SAMI_RECORD_STATISTICS };
    record.statistics = (SamiStatistics){ .process_id = (guint32) getpid(), .n_flows = m->n_not_vm_end,
                                          .first_ms = (guint64) m->not_sent_first_ms, .last_ms = (guint64) m->not_sent_last_ms };
    if (m->is_bound)
        sami_link_add(m, &record);
}

void
sami_say_end(SamiMigration *m)
{
    SamiRecord end = { .kind = SAMI_RECORD_END, .end = { m->n_sent } };
    sami_say_statistics(m);
    if (sami_link_add(m, &end))
        sami_link_flush(m, TRUE);
}
