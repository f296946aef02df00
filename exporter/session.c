/* The Transport Sessions of a migration: opened, lost, resumed within the lease (PROTOCOL §3, LIFECYCLE §1). */
#include "exporter/kinds.h"
#include "exporter/migration-internal.h"

#include <string.h>

#define STALE_US G_USEC_PER_SEC /* timeouts have whole seconds */

gboolean
sami_migration_connect(SamiMigration *m, GError **error)
{
    m->request = ++m->exporter->last_request;
    return sami_channel_send(m->exporter->channel, SAMI_CHANNEL_CONNECT, m->request, m->peer->name, -1, error);
}

void
sami_migration_attach(SamiMigration *m, int fd)
{
    sami_link_start(m, fd);
}

/* A lost session: tried again until the lease ends, since the collector keeps what it has as long (LIFECYCLE §1). */

static void
reconnect(SamiMigration *m)
{
    g_autoptr(GError) error = NULL;
    if (!sami_migration_connect(m, &error))
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
}

static gboolean
on_reconnect(gpointer user_data)
{
    SamiMigration *m = user_data;
    m->reconnect_timer = 0;
    reconnect(m);
    return G_SOURCE_REMOVE;
}

static gboolean
on_lease(gpointer user_data)
{
    SamiMigration *m = user_data;
    g_autofree gchar *text = NULL;
    m->lease_timer = 0;
    text = g_strdup_printf(m->replication    ? "%s did not come back within %u s; it keeps what it has (%s)"
                           : sami_migration_is_undecided(m) ? "%s did not come back within the lease of %u s; the VM may run behind it already, nothing is removed (%s)"
                                           : "%s did not come back within the lease of %u s; it rolls back by itself (%s)",
                           m->peer->name, m->config->lease_s, m->lost_why);
    sami_migration_fail(m, SAMI_EXIT_FAILED, text);
    return G_SOURCE_REMOVE;
}

void
sami_migration_lost(SamiMigration *m, const gchar *why)
{
    const SamiConfig *config = m->config;
    sami_link_stop(m);
    g_clear_handle_id(&m->hello_timer, g_source_remove);
    if (sami_exporter_is_over(m->state)) {
        sami_idle_add(sami_migration_drained, m);
        return;
    }
    if (m->has_final) /* nothing is waited for any more */
        return;
    sami_migration_plan_answer(m);
    if (!m->is_known) {
        sami_migration_fail(m, SAMI_EXIT_FAILED, why);
        return;
    }
    g_free(m->lost_why);
    m->lost_why = g_strdup(why);
    if (!m->lease_timer) {
        g_autofree gchar *quoted = g_strescape(why, NULL);
        g_warning("%.8s: the session with %s is lost: %s; tried again every %u ms for %u s", m->hex, m->peer->name, quoted,
                  config->reconnect_ms, config->lease_s);
        m->exporter->n_lost++;
        m->lost_us = g_get_monotonic_time();
        m->lease_timer = g_timeout_add_seconds(config->lease_s, on_lease, m);
        sami_exporter_tell(m, "lost");
    }
    if (!m->reconnect_timer)
        m->reconnect_timer = g_timeout_add(config->reconnect_ms, on_reconnect, m);
}

gboolean
sami_migration_renew(SamiMigration *m)
{
    if (!m->is_bound || !m->is_known || (m->state != SAMI_STATE_PREPARE && m->state != SAMI_STATE_FOLLOW) || m->is_freeze_asked)
        return FALSE;
    g_message("%.8s: the session with %s is as old as session-age=%us lets it be: begun anew", m->hex, m->peer->name, m->config->session_age_s);
    sami_link_close(m);
    m->lost_us = g_get_monotonic_time();
    sami_migration_plan_answer(m);
    reconnect(m);
    return TRUE;
}

/* Later than max-delay no answer to the hello would be believed (PROTOCOL §2). */
static gboolean
on_hello_timeout(gpointer user_data)
{
    SamiMigration *m = user_data;
    g_autofree gchar *text = g_strdup_printf("%s has not answered the hello within max-delay, %" G_GUINT64_FORMAT " ms", m->peer->name,
                                             m->stream->max_delay_ms);
    m->hello_timer = 0;
    m->exporter->n_answers_missing++;
    sami_migration_lost(m, text);
    return G_SOURCE_REMOVE;
}

/* A session that stands is no reason to wait for ever: its collector may say nothing, or nothing that counts. Between the freeze marker and READY it is the
 * deadline that speaks, and the operator who decides. */
static gboolean
on_no_answer(gpointer user_data)
{
    SamiMigration *m = user_data;
    const gchar *to = m->state == SAMI_STATE_ABORT || m->state == SAMI_STATE_UNDO ? "abort"
                      : m->state == SAMI_STATE_SETTLE                            ? "settle marker"
                                                                                 : "snapshot marker";
    g_autofree gchar *text = g_strdup_printf("%s has not answered the %s within the lease of %u s; %s", m->peer->name, to, m->config->lease_s,
                                             sami_migration_is_undecided(m) ? "the VM may run behind it already, nothing is removed" : "it rolls back by itself");
    m->answer_timer = 0;
    m->exporter->n_answers_missing++;
    sami_migration_fail(m, SAMI_EXIT_FAILED, text);
    return G_SOURCE_REMOVE;
}

/* In SETTLE a session that is lost and comes back does not begin the lease anew: a collector could end it each time before, and the migration would never
 * end. What one loss may take, all together may put it off. */
static guint
count_final(SamiMigration *m)
{
    gint64 now_us = g_get_monotonic_time();
    if (m->final_due_us == 0) {
        m->final_due_us = now_us + (gint64) m->config->lease_s * G_USEC_PER_SEC;
        m->away_us = 0;
    }
    return (guint) (MAX(m->final_due_us - now_us, 0) / 1000);
}

static void
put_off_final(SamiMigration *m, gint64 away_us)
{
    gint64 left_us = (gint64) m->config->lease_s * G_USEC_PER_SEC - m->away_us, more_us = CLAMP(away_us, 0, left_us);
    if (m->final_due_us == 0)
        return;
    m->final_due_us += more_us;
    m->away_us += more_us;
}

/* Counts the lease anew; of an abort once, and in SETTLE unless the collector is at work. Without a session it counts from its loss already (lease_timer). */
void
sami_migration_plan_answer(SamiMigration *m)
{
    gboolean is_undoing = m->state == SAMI_STATE_ABORT || m->state == SAMI_STATE_UNDO, is_settling = m->state == SAMI_STATE_SETTLE;
    gboolean is_due = is_settling ? (m->settle_counter != 0 || m->final_due_us != 0) && !m->has_final
                      : m->state == SAMI_STATE_PREPARE || m->state == SAMI_STATE_FOLLOW
                          ? m->snapshot_counter != 0 && !m->is_snapshot_confirmed && m->peer->receipts && !m->replication
                          : is_undoing;
    if (is_undoing && m->answer_timer && m->is_undoing)
        return;
    m->is_undoing = is_undoing;
    g_clear_handle_id(&m->answer_timer, g_source_remove);
    if (!is_settling)
        m->final_due_us = 0;
    guint ms = is_settling && is_due ? count_final(m) : m->config->lease_s * 1000;
    if (is_due && (m->is_bound || is_undoing))
        m->answer_timer = g_timeout_add(ms, on_no_answer, m);
}

/* What the peer signs with by now; NULL: nothing that we know. (transfer full) of SamiKey */
static GPtrArray *
load_peer_keys(const SamiMigration *m)
{
    const SamiConfigPeer *peer = sami_config_peer(m->exporter->config, m->peer->name);
    return peer && peer->signing_key_file ? sami_keys_load_public(peer->signing_key_file, SAMI_TRUST_PUBLIC, NULL) : NULL;
}

/* The peer may sign with another key by now: one that has come by a reload since. Before an answer has said which. */
static void
renew_peer_keys(SamiMigration *m)
{
    GPtrArray *fresh = m->peer_keys ? load_peer_keys(m) : NULL;
    if (!fresh)
        return;
    g_ptr_array_unref(m->peer_keys);
    m->peer_keys = fresh;
    if (!m->stream)
        return;
    m->stream->peer_keys = fresh;
    m->stream->peer_key = NULL;
}

void
sami_migration_review(SamiMigration *m, gboolean is_reloaded)
{
    const SamiConfigPeer *peer = sami_config_peer(m->exporter->config, m->peer->name);
    if (!m->peer_keys || sami_exporter_is_over(m->state) || (peer && !is_reloaded))
        return;
    if (peer && !m->is_bound) {
        renew_peer_keys(m);
        return;
    }
    g_autoptr(GPtrArray) keys = load_peer_keys(m);
    if (!m->socket || (keys && sami_keys_find(keys, sami_key_id(m->stream->peer_key))))
        return;
    g_autofree gchar *text = peer ? g_strdup_printf("%s: the key that it signs with here was revoked by a reload", m->peer->name)
                                  : g_strdup_printf("%s: it was removed by a reload", m->peer->name);
    sami_migration_lost(m, text);
}

/* A plain collector (receipts=false) never answers: everything stays under B0, nothing is confirmed, nothing can be resumed. */
static void
begin_plain(SamiMigration *m)
{
    g_autoptr(GError) error = NULL;
    m->is_bound = TRUE;
    sami_say_types(m);
    sami_say_begin(m);
    if (!sami_migration_open_source(m, &error))
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
}

/* PROTOCOL §3 step 1. */
void
sami_migration_hello(SamiMigration *m, const SamiFrameOpen *open)
{
    SamiRecord record = { .kind = SAMI_RECORD_HELLO };
    guint64 now_ms = (guint64) (g_get_monotonic_time() / 1000);
    gboolean is_resume = m->stream != NULL;
    if (is_resume) {
        sami_link_flush(m, FALSE); /* into the ring, while its templates are known */
        renew_peer_keys(m);
        sami_stream_reopen(m->stream, m->exporter->key, open->ekm, now_ms);
    } else {
        m->stream = sami_stream_new(SAMI_ROLE_EXPORTER, m->exporter->key, open->ekm, open->message_max, now_ms,
                                    m->config->max_delay_ms);
        m->stream->peer_keys = m->peer_keys;
        m->stream->counter_out = 1; /* after the hello, which is 0 in every session */
        memcpy(m->stream->migration_id, m->id, 16);
    }
    sami_random(m->stream->nonce_e, sizeof m->stream->nonce_e);
    record.hello.version = 1;
    record.hello.pen = SAMI_PEN;
    memcpy(record.hello.nonce, m->stream->nonce_e, 32);
    sami_key_public(m->stream->key, record.hello.public_key);
    g_strlcpy(record.hello.destination, m->peer->name, sizeof record.hello.destination);
    record.hello.opening = is_resume && !m->is_unknown_there ? SAMI_OPENING_RESUME : SAMI_OPENING_NEW;
    record.hello.generation = m->generation;
    sami_link_open(m, &record);
    if (m->peer->receipts && !m->hello_timer)
        m->hello_timer = g_timeout_add((guint) m->stream->max_delay_ms + 1, on_hello_timeout, m);
    if (!m->peer->receipts)
        begin_plain(m);
}

/* Messages that the collector has not received are lost: what they said is dumped again. */
static void
make_good(SamiMigration *m, guint64 next)
{
    gboolean is_marker_received = m->marker_counter != 0 && m->marker_counter < next;
    m->has_gap = TRUE;
    sami_kinds_forget(m);
    m->snapshot_counter = m->snapshot_counter < next ? m->snapshot_counter : 0;
    m->settle_counter = m->settle_counter < next ? m->settle_counter : 0;
    if (m->state == SAMI_STATE_ABORT || m->state == SAMI_STATE_UNDO) {
        sami_say_abort(m, SAMI_ABORT_OPERATOR);
        return;
    }
    if (m->state == SAMI_STATE_FREEZE && is_marker_received) { /* READY follows; only creations after the marker are missing */
        g_warning("%.8s: creations after the freeze marker were lost", m->hex);
        m->has_lost_late = TRUE;
        sami_source_update(m->source);
        return;
    }
    m->has_lost_late = m->state == SAMI_STATE_SETTLE || m->state == SAMI_STATE_READY;
    if (m->state == SAMI_STATE_READY) { /* held, and stays so; the audit finds what was lost */
        sami_source_update(m->source);
        return;
    }
    if (m->state == SAMI_STATE_SETTLE && m->settle_counter) { /* FINAL follows */
        g_warning("%.8s: creations after the settle marker were lost", m->hex);
        return;
    }
    if (m->state != SAMI_STATE_SETTLE) /* of an earlier freeze; means nothing to a collector that follows */
        sami_say_marker(m, SAMI_MARKER_THAW);
    if (m->state == SAMI_STATE_FREEZE) { /* the marker was lost with them */
        m->is_freeze_asked = TRUE;
        m->marker_counter = 0;
        m->freeze_mode = SAMI_FREEZE_SCAN;
        sami_source_set_mode(m->source, SAMI_SOURCE_FOLLOW);
    }
    sami_migration_start_epoch(m);
}

static void
on_resumed(SamiMigration *m, guint64 next)
{
    guint n_shifted = 0;
    /* The collector takes off a timeout what its Message was under way since it was signed, and it is signed anew now. */
    gint64 away_us = g_get_monotonic_time() - m->lost_us;
    gboolean is_audited = m->settle_counter != 0 && m->settle_counter < next;
    gboolean is_stale = m->state == SAMI_STATE_SETTLE && !is_audited && away_us >= STALE_US;
    gboolean is_whole = sami_link_resume(m, next, is_stale, &n_shifted);
    g_clear_handle_id(&m->lease_timer, g_source_remove);
    put_off_final(m, away_us);
    m->has_resumed = TRUE;
    m->exporter->n_resumed++;
    g_message("%.8s: resumed with %s after %.1f s, from Message %" G_GUINT64_FORMAT "%s", m->hex, m->peer->name,
              (double) away_us / 1e6, next, is_whole ? "" : " with a new dump");
    m->lost_us = 0;
    sami_exporter_tell(m, "resumed");
    guint64 *counters[] = { &m->marker_counter, &m->snapshot_counter, &m->settle_counter };
    for (guint i = 0; is_whole && i < G_N_ELEMENTS(counters); i++)
        if (*counters[i] >= next)
            *counters[i] += n_shifted;
    sami_link_flush(m, FALSE);
    if (!is_whole)
        make_good(m, next);
    else if (m->source)
        sami_source_update(m->source);
    sami_migration_plan_answer(m);
}

void
sami_migration_bound(SamiMigration *m, const SamiHelloReply *reply)
{
    g_autoptr(GError) error = NULL;
    gboolean is_resume = m->is_known;
    g_clear_handle_id(&m->hello_timer, g_source_remove);
    memcpy(m->stream->nonce_c, reply->nonce_c, 32);
    sami_stream_bind(m->stream, m->peer->name);
    m->is_bound = m->is_known = TRUE;
    g_message("%.8s: session with %s: our key %s, its key %s", m->hex, m->peer->name, sami_key_id_text(sami_key_id(m->stream->key), m->own_key),
              sami_key_id_text(sami_key_id(m->stream->peer_key), m->peer_key));
    m->is_unknown_there = FALSE;
    m->sessions_max = reply->sessions_max;
    m->peer_lease_s = reply->lease_s;
    if (is_resume) {
        on_resumed(m, reply->next_counter);
        return;
    }
    sami_say_types(m);
    sami_say_begin(m);
    if (m->state == SAMI_STATE_PREPARE && !sami_migration_open_source(m, &error))
        sami_migration_fail(m, SAMI_EXIT_FAILED, error->message);
}
