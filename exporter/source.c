#include "exporter/source.h"

#include <netinet/in.h>
#include <string.h>

#include "common/limits.h"
#include "common/loop.h"

#define GET_BATCH 64u
#define EVENTS_A_TURN 512u
#define FEW 4u /* the VM has less than a quarter of the table: the kernel filters (LIFECYCLE §3.10) */
#define FOLLOW_MS 2u /* DESIGN §8: changes are gathered up to 2 ms or a full Message */

/* What is known of a tuple beyond the dump. FRESH and TOMBSTONE are kept while a dump runs: its parts are filled one ahead, so they
 * can be older than what was sent meanwhile. */
typedef enum {
    DIRTY = 1, /* to be read and sent */
    FRESH,     /* was read and sent since the dump began: what the dump says of it is not newer */
    TOMBSTONE, /* ended since the dump began */
} Mark;

struct SamiSource {
    SamiFirewall *firewall;
    SamiSourceScope scope;
    SamiSourceOps ops;
    gpointer user_data;
    SamiSourceMode mode;
    SamiFirewallEvents *events;
    SamiFirewallDump *dump;
    GHashTable *marks; /* SamiFlowKey -> Mark */
    guint n_dirty;
    GHashTable *adjusted; /* of SamiFlowKey: whose payload a helper may change in length, which no event tells */
    guint64 n_silent, n_not_vm_end;
    guint64 n_dumped; /* entries that the running or last dump handed out */
    gboolean is_counting, has_counted; /* what the running dump does, and what one has done, about n_not_vm_end */
    gboolean is_attached;
    gboolean is_failed;
    GSource *events_source, *dump_source;
    guint flush_timer;
};

static gboolean
is_in_scope(const SamiSource *source, const SamiSession *s)
{
    const SamiSourceScope *scope = &source->scope;
    if (scope->has_zone && s->key.zone != scope->zone)
        return FALSE;
    return sami_prefixes_contain(scope->vm, scope->n_vm, s->key.family, &s->key.orig.src) ||
           ((s->has & SAMI_HAS_REPLY) && sami_prefixes_contain(scope->vm, scope->n_vm, s->key.family, &s->reply.src));
}

static gboolean
is_ours(const SamiSource *source, const SamiSession *s)
{
    return !source->ops.is_ours || source->ops.is_ours(s, source->user_data);
}

static Mark
mark_of(const SamiSource *source, const SamiFlowKey *key)
{
    return (Mark) GPOINTER_TO_UINT(g_hash_table_lookup(source->marks, key));
}

static void
set_mark(SamiSource *source, const SamiFlowKey *key, Mark mark)
{
    Mark old = mark_of(source, key);
    source->n_dirty += (mark == DIRTY) - (old == DIRTY);
    if (mark == 0)
        g_hash_table_remove(source->marks, key);
    else if (old == 0)
        g_hash_table_insert(source->marks, g_memdup2(key, sizeof *key), GUINT_TO_POINTER(mark));
    else if (old != mark)
        g_hash_table_insert(source->marks, g_memdup2(key, sizeof *key), GUINT_TO_POINTER(mark));
}

static void
fail(SamiSource *source, const gchar *text)
{
    source->is_failed = TRUE;
    source->ops.failed(text, source->user_data);
}

static gboolean
may_be_adjusted(const SamiSession *s)
{
    return (s->has & SAMI_HAS_SEQADJ) ||
           ((s->has & SAMI_HAS_HELPER) && s->key.protocol == IPPROTO_TCP && (sami_session_has_snat(s) || sami_session_has_dnat(s)));
}

static gboolean
send_record(SamiSource *source, const SamiSession *s, SamiAction action)
{
    if (action != SAMI_ACTION_DELETED && may_be_adjusted(s) && !g_hash_table_contains(source->adjusted, &s->key))
        g_hash_table_add(source->adjusted, g_memdup2(&s->key, sizeof s->key));
    if (!source->is_failed && !source->ops.record(s, action, source->user_data))
        source->is_failed = TRUE;
    return !source->is_failed;
}

static gboolean on_flush(gpointer user_data);

static void
flush_soon(SamiSource *source)
{
    if (source->is_attached && !source->flush_timer)
        source->flush_timer = g_timeout_add(FOLLOW_MS, on_flush, source);
}

static void
set_dirty(SamiSource *source, const SamiFlowKey *key)
{
    set_mark(source, key, DIRTY);
    flush_soon(source);
}

static void
on_event(SamiEventKind kind, const SamiSession *s, gpointer user_data)
{
    SamiSource *source = user_data;
    if (!is_in_scope(source, s) || !is_ours(source, s))
        return;
    if (kind != SAMI_EVENT_DESTROY) {
        if (source->mode == SAMI_SOURCE_FOLLOW || kind == SAMI_EVENT_NEW)
            set_dirty(source, &s->key);
        return;
    }
    set_mark(source, &s->key, source->dump ? TOMBSTONE : 0);
    g_hash_table_remove(source->adjusted, &s->key);
    if (source->mode != SAMI_SOURCE_FOLLOW)
        return;
    send_record(source, s, SAMI_ACTION_DELETED);
    flush_soon(source);
}

static void
close_dump(SamiSource *source)
{
    if (source->dump_source) {
        g_source_destroy(source->dump_source);
        g_clear_pointer(&source->dump_source, g_source_unref);
    }
    if (source->dump && source->is_counting)
        source->n_not_vm_end = sami_firewall_dump_not_vm_end(source->dump);
    g_clear_pointer(&source->dump, sami_firewall_dump_free);
}

static gboolean
drop_mark(gpointer key, gpointer value, gpointer user_data)
{
    return (Mark) GPOINTER_TO_UINT(value) != DIRTY;
}

/* Of a dump that has ended, or before one begins: then nothing of what was sent is newer than what it will say. */
static void
drop_dump_marks(SamiSource *source)
{
    g_hash_table_foreach_remove(source->marks, drop_mark, NULL);
}

static void
overrun(SamiSource *source)
{
    close_dump(source);
    g_hash_table_remove_all(source->marks);
    g_hash_table_remove_all(source->adjusted); /* the new dump finds them again */
    source->n_dirty = 0;
    source->ops.overrun(source->user_data);
}

/* What a call on the event socket said. */
static gboolean
check_events(SamiSource *source, gboolean is_read, const GError *error)
{
    if (is_read && g_hash_table_size(source->marks) <= SAMI_DIRTY_MAX)
        return !source->is_failed;
    if (is_read || g_error_matches(error, SAMI_ERROR, SAMI_ERROR_OVERRUN))
        overrun(source);
    else
        fail(source, error->message);
    return FALSE;
}

gboolean
sami_source_read_events(SamiSource *source, guint max)
{
    g_autoptr(GError) error = NULL;
    gboolean is_read = sami_firewall_events_read(source->events, max, on_event, source, &error);
    return check_events(source, is_read, error);
}

gboolean
sami_source_barrier(SamiSource *source)
{
    g_autoptr(GError) error = NULL;
    gboolean is_read = sami_firewall_events_barrier(source->events, on_event, source, &error);
    return check_events(source, is_read, error);
}

static void
on_dumped(const SamiSession *s, gpointer user_data)
{
    SamiSource *source = user_data;
    Mark mark = mark_of(source, &s->key);
    source->n_dumped++;
    if (!(s->has & SAMI_HAS_START) || s->start_ns < source->scope.events_since_ns)
        source->n_silent++;
    if (!is_ours(source, s))
        return;
    if (mark == 0)
        send_record(source, s, SAMI_ACTION_CREATED);
    else if (mark == TOMBSTONE) /* older than the end of the flow, or a new one: the kernel knows */
        set_dirty(source, &s->key);
}

gboolean
sami_source_read_dump(SamiSource *source)
{
    g_autoptr(GError) error = NULL;
    if (!sami_source_read_events(source, G_MAXUINT)) /* before each part (LIFECYCLE §3.3) */
        return FALSE;
    SamiDumpStatus status = sami_firewall_dump_next(source->dump, on_dumped, source, &error);
    if (source->is_failed)
        return FALSE;
    if (status == SAMI_DUMP_BAD) {
        fail(source, error->message);
        return FALSE;
    }
    if (status == SAMI_DUMP_END) {
        source->has_counted |= source->is_counting;
        close_dump(source);
        drop_dump_marks(source);
        source->ops.dumped(source->user_data);
    }
    return TRUE;
}

gboolean
sami_source_send_dirty(SamiSource *source, gboolean is_all)
{
    SamiFlowKey keys[GET_BATCH];
    SamiSession found[GET_BATCH];
    gboolean is_found[GET_BATCH];
    while (source->n_dirty > 0 && !source->is_failed && (is_all || !source->ops.is_full(source->user_data))) {
        GHashTableIter iter;
        gpointer key, value;
        guint n = 0;
        g_autoptr(GError) error = NULL;
        g_hash_table_iter_init(&iter, source->marks);
        while (n < GET_BATCH && g_hash_table_iter_next(&iter, &key, &value)) {
            if ((Mark) GPOINTER_TO_UINT(value) != DIRTY)
                continue;
            keys[n++] = *(SamiFlowKey *) key;
            if (source->dump)
                g_hash_table_iter_replace(&iter, GUINT_TO_POINTER(FRESH));
            else
                g_hash_table_iter_remove(&iter);
        }
        source->n_dirty -= n;
        if (!sami_firewall_get(source->firewall, keys, n, found, is_found, &error)) {
            fail(source, error->message);
            return FALSE;
        }
        /* Not found: its destroy event is on the way, or has been. Another key: the tuple is the reply of another flow. */
        for (guint i = 0; i < n; i++)
            if (is_found[i] && sami_flow_key_equal(&found[i].key, &keys[i]) && is_in_scope(source, &found[i]) &&
                is_ours(source, &found[i]) && !send_record(source, &found[i], SAMI_ACTION_UPDATE))
                return FALSE;
    }
    return !source->is_failed;
}

/* The kernel's filter shows only what it selects, so who else names the VM is counted once, by the first dump. */
static gboolean
needs_count(const SamiSource *source)
{
    guint64 n_entries, max;
    return !source->has_counted || !sami_firewall_headroom(source->firewall, &n_entries, &max, NULL) ||
           source->n_dumped >= n_entries / FEW;
}

gboolean
sami_source_dump(SamiSource *source, GError **error)
{
    gboolean is_counting = needs_count(source);
    const SamiSourceScope *scope = &source->scope;
    SamiDumpFilter filter = { .prefixes = scope->vm, .n_prefixes = scope->n_vm, .has_zone = scope->has_zone, .zone = scope->zone,
                              .has_mark = scope->has_mark, .mark = scope->mark, .mark_mask = G_MAXUINT32,
                              .is_counting_not_vm_end = is_counting };
    close_dump(source);
    drop_dump_marks(source);
    source->n_silent = source->n_dumped = 0;
    source->is_counting = is_counting;
    source->dump = sami_firewall_dump_new(source->firewall, &filter, error);
    sami_source_update(source);
    return source->dump != NULL;
}

/* The main loop's turns. A callback of ours may free the source's GSources, never the source itself. */

static gboolean
on_flush(gpointer user_data)
{
    SamiSource *source = user_data;
    source->flush_timer = 0;
    if (!source->ops.is_full(source->user_data) && sami_source_send_dirty(source, FALSE))
        source->ops.sent(source->user_data);
    return G_SOURCE_REMOVE; /* what is left waits for sami_source_update() */
}

static gboolean
on_events(GIOCondition condition, gpointer user_data)
{
    SamiSource *source = user_data;
    sami_source_read_events(source, EVENTS_A_TURN);
    return !source->is_failed;
}

static gboolean
on_dump(GIOCondition condition, gpointer user_data)
{
    SamiSource *source = user_data;
    SamiFirewallDump *dump = source->dump;
    int fd = sami_firewall_dump_fd(dump);
    if (!sami_source_read_dump(source) || source->dump != dump)
        return G_SOURCE_REMOVE;
    if (source->ops.is_full(source->user_data) || fd != sami_firewall_dump_fd(source->dump)) {
        g_source_destroy(source->dump_source);
        g_clear_pointer(&source->dump_source, g_source_unref);
        sami_source_update(source);
    }
    return G_SOURCE_CONTINUE;
}

void
sami_source_update(SamiSource *source)
{
    gboolean is_full = source->ops.is_full(source->user_data);
    if (source->is_attached && source->dump && !source->dump_source && !is_full)
        source->dump_source = sami_fd_source_new(sami_firewall_dump_fd(source->dump), G_IO_IN, on_dump, source, NULL);
    if (source->n_dirty > 0 && !is_full)
        flush_soon(source);
}

void
sami_source_attach(SamiSource *source)
{
    source->is_attached = TRUE;
    source->events_source = sami_fd_source_new(sami_firewall_events_fd(source->events), G_IO_IN, on_events, source, NULL);
    sami_source_update(source);
}

SamiSource *
sami_source_new(SamiFirewall *firewall, const SamiSourceScope *scope, const SamiSourceOps *ops, gpointer user_data, GError **error)
{
    g_autoptr(SamiSource) source = g_new0(SamiSource, 1);
    source->firewall = firewall;
    source->scope = *scope;
    source->ops = *ops;
    source->user_data = user_data;
    source->marks = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, NULL);
    source->adjusted = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, NULL);
    source->events = sami_firewall_events_new(firewall, error);
    if (!source->events || !sami_firewall_events_barrier(source->events, on_event, source, error))
        return NULL;
    return g_steal_pointer(&source);
}

void
sami_source_free(SamiSource *source)
{
    if (!source)
        return;
    close_dump(source);
    if (source->events_source) {
        g_source_destroy(source->events_source);
        g_source_unref(source->events_source);
    }
    if (source->flush_timer)
        g_source_remove(source->flush_timer);
    if (source->events)
        sami_firewall_events_free(source->events);
    sami_firewall_free(source->firewall);
    g_hash_table_unref(source->marks);
    g_hash_table_unref(source->adjusted);
    g_free(source);
}

void
sami_source_mark_adjusted(SamiSource *source)
{
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, source->adjusted);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        set_mark(source, key, DIRTY);
}

void
sami_source_set_mode(SamiSource *source, SamiSourceMode mode)
{
    source->mode = mode;
}

gboolean
sami_source_is_dumping(const SamiSource *source)
{
    return source->dump != NULL;
}

guint
sami_source_n_dirty(const SamiSource *source)
{
    return source->n_dirty;
}

guint64
sami_source_n_silent(const SamiSource *source)
{
    return source->n_silent;
}

guint64
sami_source_n_not_vm_end(const SamiSource *source)
{
    return source->n_not_vm_end;
}

gboolean
sami_source_selects(const SamiSource *source, const SamiSession *session)
{
    return is_in_scope(source, session) && is_ours(source, session);
}

SamiFirewall *
sami_source_firewall(SamiSource *source)
{
    return source->firewall;
}
