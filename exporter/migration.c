/* The state machine of a migration at its source (LIFECYCLE §1). */
#include "exporter/exporter.h"

#include <string.h>

#define NOW_DIRTY_MAX 1000u /* --now freezes below this many dirty tuples */
#define PROGRESS_MS 200u
#define REFUSAL_TEXTS 20u

static const gchar *const state_names[] = { "PREPARE", "FOLLOW", "FREEZE", "READY", "SETTLE",
                                            "DONE",    "ABORT",  "ABORTED", "FAILED", "IN-DOUBT" };

const gchar *
sami_exporter_state_name(SamiExporterState state)
{
    return state_names[state];
}

static gboolean
on_cleanup(gpointer user_data)
{
    SamiMigration *m = user_data;
    if (m->progress_timer)
        g_source_remove(m->progress_timer);
    if (m->deadline_timer)
        g_source_remove(m->deadline_timer);
    m->progress_timer = m->deadline_timer = 0;
    sami_source_close(m);
    if (m->state != SAMI_STATE_DONE && m->state != SAMI_STATE_ABORTED) /* those two still drain their last Message */
        sami_link_stop(m);
    return G_SOURCE_REMOVE;
}

void
sami_migration_set_state(SamiMigration *m, SamiExporterState state)
{
    g_message("%.8s %s -> %s (to %s)", m->hex, state_names[m->state], state_names[state], m->peer->name);
    m->state = state;
    sami_exporter_tell(m, "phase");
    if (state == SAMI_STATE_DONE || state >= SAMI_STATE_ABORTED) {
        m->exporter->n_results[state]++;
        m->exporter->n_not_vm_end += m->n_not_vm_end;
        /* From the idle loop: this may run inside a callback of what is cleaned up. */
        g_idle_add(on_cleanup, m);
    }
}

static gboolean
is_over(const SamiMigration *m)
{
    return m->state == SAMI_STATE_DONE || m->state >= SAMI_STATE_ABORTED;
}

static void
finish_all(SamiMigration *m, SamiExit code)
{
    m->exit = code;
    sami_exporter_finish(m->freezers, m, code);
    sami_exporter_finish(m->watchers, m, code);
    sami_exporter_finish(m->aborters, m, m->state == SAMI_STATE_ABORTED ? SAMI_EXIT_DONE : SAMI_EXIT_FAILED);
}

void
sami_migration_fail(SamiMigration *m, SamiExit code, const gchar *text)
{
    if (is_over(m))
        return;
    m->error = g_strdup(text);
    g_warning("%.8s failed: %s", m->hex, text);
    sami_migration_set_state(m, code == SAMI_EXIT_IN_DOUBT ? SAMI_STATE_IN_DOUBT : SAMI_STATE_FAILED);
    finish_all(m, code);
}

static gboolean
on_progress(gpointer user_data)
{
    sami_exporter_tell(user_data, "progress");
    return G_SOURCE_CONTINUE;
}

SamiMigration *
sami_migration_new(SamiExporter *exporter, const SamiConfigPeer *peer, GArray *vm, GError **error)
{
    g_autoptr(GArray) prefixes = vm;
    g_autoptr(SamiKey) peer_key = sami_key_load_public(peer->signing_key_file, error);
    SamiMigration *m;
    if (!peer_key || !sami_channel_send(exporter->channel, SAMI_CHANNEL_CONNECT, exporter->last_request + 1, peer->name, -1, error))
        return NULL;
    m = g_new0(SamiMigration, 1);
    m->exporter = exporter;
    m->peer = peer;
    m->peer_key = g_steal_pointer(&peer_key);
    m->vm = g_steal_pointer(&prefixes);
    m->request = ++exporter->last_request;
    sami_random(m->id, sizeof m->id);
    for (guint i = 0; i < 16; i++)
        g_snprintf(m->hex + 2 * i, 3, "%02x", m->id[i]);
    m->deadline_ms = exporter->config->deadline_ms;
    m->freeze_mode = SAMI_FREEZE_EVENTS;
    m->refusal_texts = g_ptr_array_new_with_free_func(g_free);
    m->watchers = g_ptr_array_new_with_free_func((GDestroyNotify) sami_control_client_unref);
    m->freezers = g_ptr_array_new_with_free_func((GDestroyNotify) sami_control_client_unref);
    m->aborters = g_ptr_array_new_with_free_func((GDestroyNotify) sami_control_client_unref);
    m->started_us = g_get_monotonic_time();
    g_queue_init(&m->out);
    m->progress_timer = g_timeout_add(PROGRESS_MS, on_progress, m);
    g_ptr_array_add(exporter->migrations, m);
    return m;
}

void
sami_migration_free(SamiMigration *m)
{
    on_cleanup(m);
    sami_link_stop(m);
    sami_stream_free(m->stream);
    sami_key_free(m->peer_key);
    g_array_unref(m->vm);
    g_ptr_array_unref(m->refusal_texts);
    g_ptr_array_unref(m->watchers);
    g_ptr_array_unref(m->freezers);
    g_ptr_array_unref(m->aborters);
    g_free(m->on_late);
    g_free(m->error);
    while (g_idle_remove_by_data(m))
        ;
    g_free(m);
}

void
sami_migration_attach(SamiMigration *m, int fd)
{
    sami_link_start(m, fd);
}

/* PROTOCOL §3 step 1. */
void
sami_migration_hello(SamiMigration *m, const SamiFrameOpen *open)
{
    SamiRecord record = { .kind = SAMI_RECORD_HELLO };
    m->stream = sami_stream_new(SAMI_ROLE_EXPORTER, m->exporter->key, open->ekm, open->message_max,
                                (guint64) (g_get_monotonic_time() / 1000), m->exporter->config->max_delay_ms);
    m->stream->peer_key = m->peer_key;
    memcpy(m->stream->migration_id, m->id, 16);
    sami_random(m->stream->nonce_e, sizeof m->stream->nonce_e);
    record.hello.version = 1;
    record.hello.pen = SAMI_PEN;
    memcpy(record.hello.nonce, m->stream->nonce_e, 32);
    sami_key_public(m->exporter->key, record.hello.public_key);
    g_strlcpy(record.hello.destination, m->peer->name, sizeof record.hello.destination);
    record.hello.opening = 1;
    if (sami_link_add(m, &record))
        sami_link_flush(m, FALSE);
}

/* RFC 5610: what our own elements are, for any other collector that reads the stream or a journal. */
static void
send_types(SamiMigration *m)
{
    for (guint i = 0; i < SAMI_N_ELEMENTS; i++) {
        const SamiElement *e = &sami_elements[i];
        SamiRecord record = { .kind = SAMI_RECORD_TYPE_INFORMATION };
        if (e->pen != SAMI_PEN)
            continue;
        record.type_information = (SamiTypeInformation){ .pen = e->pen, .number = e->number, .type = (guint8) e->type,
                                                         .semantics = e->semantics, .units = e->units };
        g_strlcpy(record.type_information.name, e->name, sizeof record.type_information.name);
        sami_link_add(m, &record);
    }
}

static void
on_hello_reply(SamiMigration *m, const SamiHelloReply *reply)
{
    g_autoptr(GError) error = NULL;
    if (m->is_bound || memcmp(reply->nonce_e, m->stream->nonce_e, 32) != 0 || reply->next_counter != m->stream->counter_out) {
        sami_migration_fail(m, SAMI_EXIT_REFUSED, "the collector's hello-reply answers another hello");
        return;
    }
    memcpy(m->stream->nonce_c, reply->nonce_c, 32);
    sami_stream_bind(m->stream, m->peer->name);
    m->is_bound = TRUE;
    send_types(m);
    for (guint i = 0; i < m->vm->len; i++) {
        SamiRecord record = { .vm_address = g_array_index(m->vm, SamiPrefix, i) };
        record.kind = record.vm_address.family == 4 ? SAMI_RECORD_VM_ADDRESS4 : SAMI_RECORD_VM_ADDRESS6;
        sami_link_add(m, &record);
    }
    SamiRecord begin = { .kind = SAMI_RECORD_BEGIN };
    begin.begin.n_addresses = (guint16) m->vm->len;
    begin.begin.lease_s = m->exporter->config->lease_s;
    begin.begin.kinds = 1;
    g_strlcpy(begin.begin.destination, m->peer->name, sizeof begin.begin.destination);
    sami_link_add(m, &begin);
    sami_link_flush(m, FALSE);
    if (!sami_source_open(m, &error))
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
}

static void
send_epoch(SamiMigration *m, guint8 phase)
{
    SamiRecord record = { .kind = SAMI_RECORD_EPOCH, .epoch = { m->generation, phase } };
    sami_link_add(m, &record);
}

static void
send_marker(SamiMigration *m, guint8 marker)
{
    SamiRecord record = { .kind = SAMI_RECORD_MARKER, .marker = { marker, m->n_sent, m->freeze_mode } };
    if (!sami_link_add(m, &record))
        return;
    m->marker_counter = marker == SAMI_MARKER_SNAPSHOT ? m->marker_counter : m->stream->counter_out;
    sami_link_flush(m, FALSE);
}

static void
start_epoch(SamiMigration *m)
{
    g_autoptr(GError) error = NULL;
    m->generation++;
    send_epoch(m, 1);
    if (!sami_source_dump(m, &error))
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
}

void
sami_migration_overrun(SamiMigration *m)
{
    m->exporter->n_overruns++;
    if (m->state >= SAMI_STATE_READY || m->marker_counter)
        return;
    g_warning("%.8s: events were lost: dumping again", m->hex);
    g_hash_table_remove_all(m->dirty);
    g_hash_table_remove_all(m->tombstones);
    start_epoch(m);
}

static gboolean
on_deadline(gpointer user_data)
{
    SamiMigration *m = user_data;
    m->deadline_timer = 0;
    if (m->state != SAMI_STATE_FREEZE)
        return G_SOURCE_REMOVE;
    g_warning("%.8s: no READY within %u ms", m->hex, m->deadline_ms);
    sami_exporter_finish(m->freezers, m, SAMI_EXIT_LATE);
    if (g_strcmp0(m->on_late, "abort") == 0)
        sami_migration_abort(m, SAMI_ABORT_DEADLINE, NULL);
    return G_SOURCE_REMOVE;
}

/* Everything up to the pause has been sent: the marker, and the wait for READY. */
static void
complete_freeze(SamiMigration *m)
{
    gboolean is_overrun = FALSE;
    g_autoptr(GError) error = NULL;
    if (!sami_source_barrier(m, &is_overrun, &error) || (!is_overrun && !sami_source_send_dirty(m, &error))) {
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
        return;
    }
    if (is_overrun) {
        m->freeze_mode = SAMI_FREEZE_SCAN;
        sami_migration_overrun(m);
        return;
    }
    m->is_freeze_asked = FALSE;
    send_marker(m, SAMI_MARKER_FREEZE);
}

gboolean
sami_migration_freeze(SamiMigration *m, GError **error)
{
    if (m->state != SAMI_STATE_FOLLOW || !m->is_snapshot_confirmed || m->dump) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                    "not-ready: the snapshot of %.8s is not confirmed yet (phase %s); wait for FOLLOW and freeze again", m->hex,
                    state_names[m->state]);
        return FALSE;
    }
    m->freeze_us = g_get_monotonic_time();
    m->is_freeze_asked = TRUE;
    sami_migration_set_state(m, SAMI_STATE_FREEZE);
    m->deadline_timer = g_timeout_add(m->deadline_ms, on_deadline, m);
    if (m->n_silent == 0) {
        complete_freeze(m);
        return TRUE;
    }
    m->freeze_mode = SAMI_FREEZE_SCAN; /* silent entries send no events: look at all once more */
    start_epoch(m);
    return TRUE;
}

gboolean
sami_migration_abort(SamiMigration *m, guint8 reason, GError **error)
{
    SamiRecord record = { .kind = SAMI_RECORD_ABORT };
    if (is_over(m) || m->state == SAMI_STATE_ABORT) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%.8s is %s already", m->hex, state_names[m->state]);
        return FALSE;
    }
    record.abort.reason = reason;
    record.abort.marker_counter = m->state >= SAMI_STATE_READY ? m->marker_counter : 0;
    if (!m->is_bound) { /* the collector knows nothing yet */
        m->error = g_strdup("aborted before the collector took it");
        sami_migration_set_state(m, SAMI_STATE_ABORTED);
        sami_link_stop(m);
        finish_all(m, SAMI_EXIT_ABORTED);
        return TRUE;
    }
    sami_migration_set_state(m, SAMI_STATE_ABORT);
    sami_source_close(m);
    if (sami_link_add(m, &record))
        sami_link_flush(m, FALSE);
    return TRUE;
}

void
sami_migration_dumped(SamiMigration *m)
{
    g_autoptr(GError) error = NULL;
    if (m->state == SAMI_STATE_SETTLE) {
        send_marker(m, SAMI_MARKER_SETTLE);
        return;
    }
    if (!sami_source_send_dirty(m, &error)) {
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
        return;
    }
    if (m->generation > 0)
        send_epoch(m, 2);
    if (m->is_freeze_asked) {
        complete_freeze(m);
        return;
    }
    if (m->state == SAMI_STATE_PREPARE) {
        m->n_snapshot = m->n_sent;
        send_marker(m, SAMI_MARKER_SNAPSHOT);
        sami_migration_set_state(m, SAMI_STATE_FOLLOW);
    } else {
        sami_link_flush(m, FALSE);
    }
}

static void
settle(SamiMigration *m)
{
    g_autoptr(GError) error = NULL;
    m->is_settle_dump = TRUE;
    m->generation++;
    sami_migration_set_state(m, SAMI_STATE_SETTLE);
    send_epoch(m, 1);
    if (!sami_source_dump(m, &error))
        sami_migration_fail(m, SAMI_EXIT_IN_DOUBT, error->message);
}

static SamiExit
exit_of(const SamiMigration *m)
{
    return m->refused > 0 || m->degraded > 0 ? SAMI_EXIT_DEGRADED : SAMI_EXIT_DONE;
}

static void
on_receipt(SamiMigration *m, const SamiReceipt *r)
{
    m->accepted = r->n_accepted;
    m->merged = r->n_merged;
    m->refused = r->n_refused;
    m->present = r->n_present;
    m->degraded = r->n_degraded;
    m->exact = r->n_exact;
    if (r->phase == SAMI_RECEIPT_SNAPSHOT) {
        m->is_snapshot_confirmed = TRUE;
        sami_exporter_tell(m, "phase");
        if (m->is_now && m->state == SAMI_STATE_FOLLOW && g_hash_table_size(m->dirty) < NOW_DIRTY_MAX)
            sami_migration_freeze(m, NULL);
    } else if (r->phase == SAMI_RECEIPT_READY && m->state == SAMI_STATE_FREEZE && r->marker_counter == m->marker_counter) {
        m->ready_us = g_get_monotonic_time();
        sami_migration_set_state(m, SAMI_STATE_READY);
        sami_exporter_finish(m->freezers, m, exit_of(m));
        settle(m);
    } else if (r->phase == SAMI_RECEIPT_FINAL && m->state == SAMI_STATE_SETTLE) {
        SamiRecord end = { .kind = SAMI_RECORD_END, .end = { m->n_sent } };
        if (sami_link_add(m, &end))
            sami_link_flush(m, TRUE);
        sami_migration_set_state(m, SAMI_STATE_DONE);
        finish_all(m, exit_of(m));
    } else if (r->phase == SAMI_RECEIPT_ABORTED) {
        sami_migration_set_state(m, SAMI_STATE_ABORTED);
        sami_link_flush(m, TRUE);
        finish_all(m, SAMI_EXIT_ABORTED);
    }
}

static void
on_refusal(SamiMigration *m, const SamiRefusal *refusal)
{
    g_autofree gchar *detail = g_strndup(refusal->detail, sizeof refusal->detail);
    g_autofree gchar *quoted = g_strescape(detail, NULL);
    if (refusal->scope == SAMI_SCOPE_MESSAGE) {
        g_autofree gchar *text = g_strdup_printf("%s refused: %s: %s", m->peer->name, sami_reason_id(refusal->reason), quoted);
        sami_migration_fail(m, SAMI_EXIT_REFUSED, text);
    } else if (m->refusal_texts->len < REFUSAL_TEXTS) {
        g_ptr_array_add(m->refusal_texts, g_strdup_printf("%s: %s", sami_reason_id(refusal->reason), quoted));
    }
}

void
sami_migration_received(SamiMigration *m, const SamiRecord *record)
{
    if (is_over(m))
        return;
    switch (record->kind) {
    case SAMI_RECORD_HELLO_REPLY: on_hello_reply(m, &record->hello_reply); return;
    case SAMI_RECORD_RECEIPT: on_receipt(m, &record->receipt); return;
    case SAMI_RECORD_REFUSAL: on_refusal(m, &record->refusal); return;
    case SAMI_RECORD_REASON_COUNT:
        if (record->reason_count.reason < SAMI_N_REASONS)
            (record->reason_count.scope == SAMI_SCOPE_DEGRADED ? m->degraded_by : m->refused_by)[record->reason_count.reason] =
                record->reason_count.count;
        return;
    default:
        sami_migration_fail(m, SAMI_EXIT_REFUSED, "the collector sent a record of the other direction");
        return;
    }
}
