/* Records of kinds beside sessions, from the stream to their sink and back into receipts. The main loop's side: gathers what a Message brings, submits
 * it to the thread of the kinds, adds up what came of it. */
#include "collector/kinds.h"

#include <string.h>
#include <unistd.h>

#include "collector/collector.h"

const SamiSinkKind *const sami_sink_kinds[] = { &sami_sink_cumulative };
const guint sami_n_sink_kinds = G_N_ELEMENTS(sami_sink_kinds);
#define N_KINDS G_N_ELEMENTS(sami_sink_kinds)

/* One kind of one migration. */
typedef struct {
    SamiCollectorMigration *migration;
    const SamiSinkKind *kind;
    gchar *log_path;
    SamiKindContext context;
    gpointer state;        /* of the kinds' thread */
    gboolean is_broken;    /* the same: it could not be opened */
    SamiKindCounts counts; /* of the main loop, like what follows */
    GByteArray *batch;     /* of the Message that is being read */
    guint n_jobs;
} Kind;

struct SamiCollectorKinds {
    Kind kinds[N_KINDS];
};

/* States of a kind that may still be undone: of the kinds' thread. */
struct SamiKindThread {
    SamiInjector *injector;
    GPtrArray *states[N_KINDS];
};

/* A job: what it works on, and what came of it. */
typedef struct {
    Kind *kind;
    GByteArray *records;
    guint64 read_ms; /* by our monotonic clock: when the records were read at the source */
    guint64 counter;
    SamiKindCounts counts;
    void (*work)(Kind *kind, gpointer call);
    void (*then)(SamiCollectorMigration *m, guint64 counter);
} Call;

static void
list(SamiKindCounts *counts, guint8 scope, SamiReason reason, guint64 counter, const gchar *detail)
{
    SamiRefusal refusal = { .scope = scope, .reason = (guint16) reason, .counter = counter };
    if (!detail)
        return;
    if (!counts->refusals)
        counts->refusals = g_array_new(FALSE, FALSE, sizeof(SamiRefusal));
    g_strlcpy(refusal.detail, detail, sizeof refusal.detail);
    if (counts->refusals->len < SAMI_REFUSALS_PER_RULE)
        g_array_append_val(counts->refusals, refusal);
}

void
sami_kind_refuse(SamiKindCounts *counts, SamiReason reason, guint64 counter, const gchar *detail)
{
    counts->n_refused++;
    counts->refused[reason]++;
    list(counts, SAMI_SCOPE_RECORD, reason, counter, detail);
}

void
sami_kind_degrade(SamiKindCounts *counts, SamiReason reason, guint64 counter, const gchar *detail)
{
    counts->degraded[reason]++;
    list(counts, SAMI_SCOPE_DEGRADED, reason, counter, detail);
}

static void
add_up(SamiKindCounts *total, const SamiKindCounts *more)
{
    total->n_records += more->n_records;
    total->n_applied += more->n_applied;
    total->n_unchanged += more->n_unchanged;
    total->n_refused += more->n_refused;
    total->n_undone += more->n_undone;
    total->n_lost += more->n_lost;
    for (guint i = 0; i < SAMI_N_REASONS; i++) {
        total->refused[i] += more->refused[i];
        total->degraded[i] += more->degraded[i];
    }
    for (guint i = 0; more->refusals && i < more->refusals->len; i++) {
        const SamiRefusal *r = &g_array_index(more->refusals, SamiRefusal, i);
        if (total->refused[r->reason] + total->degraded[r->reason] <= SAMI_REFUSALS_PER_RULE)
            list(total, r->scope, (SamiReason) r->reason, r->counter, r->detail);
    }
}

/* The thread. */

SamiKindThread *
sami_collector_kinds_start(void)
{
    SamiKindThread *thread = g_new0(SamiKindThread, 1);
    thread->injector = sami_injector_new(NULL);
    for (guint i = 0; i < N_KINDS; i++)
        thread->states[i] = g_ptr_array_new();
    return thread;
}

void
sami_collector_kinds_stop(SamiKindThread *thread)
{
    if (!thread)
        return;
    sami_injector_free(thread->injector);
    for (guint i = 0; i < N_KINDS; i++)
        g_ptr_array_unref(thread->states[i]);
    g_free(thread);
}

guint
sami_collector_pending(const SamiCollector *collector)
{
    return sami_injector_pending(collector->injector) + sami_injector_pending(collector->kinds->injector);
}

/* FALSE; `error` is set the first time. */
static gboolean
open_kind(Kind *kind, GError **error)
{
    if (!kind->state && !kind->is_broken) {
        kind->state = kind->kind->open(&kind->context, error);
        kind->is_broken = kind->state == NULL;
        if (kind->state)
            g_ptr_array_add(kind->context.siblings, kind->state);
    }
    return kind->state != NULL;
}

static void
work_apply(Kind *kind, gpointer data)
{
    Call *call = data;
    guint n = (guint) (call->records->len / kind->kind->size);
    g_autoptr(GError) error = NULL;
    if (open_kind(kind, &error)) {
        kind->kind->apply(kind->state, call->records->data, n, (guint64) g_get_monotonic_time() / 1000 - call->read_ms, call->counter, &call->counts);
        return;
    }
    call->counts.n_records += n;
    for (guint i = 0; i < n; i++)
        sami_kind_refuse(&call->counts, SAMI_REASON_KERNEL, call->counter, i == 0 && error ? error->message : NULL);
}

static void
work_undo(Kind *kind, gpointer data)
{
    Call *call = data;
    g_autoptr(GError) error = NULL;
    gboolean has_log = kind->log_path && access(kind->log_path, F_OK) == 0;
    if ((kind->state || has_log) && open_kind(kind, &error))
        kind->kind->undo(kind->state, &call->counts);
    if (error)
        g_critical("%s data of %s from before the restart stays: %s", kind->kind->name, kind->context.peer, error->message);
}

static void
close_kind(Kind *kind)
{
    if (!kind->state)
        return;
    g_ptr_array_remove_fast(kind->context.siblings, kind->state);
    kind->kind->close(kind->state);
    kind->state = NULL;
}

static void
work_forget(Kind *kind, gpointer data)
{
    close_kind(kind);
    kind->is_broken = TRUE; /* nothing comes any more */
    if (kind->log_path)
        unlink(kind->log_path);
}

static void
on_call(SamiJob *job)
{
    Call *call = job->data;
    if (call->work)
        call->work(call->kind, call);
}

static void
on_called(SamiJob *job, gpointer user_data)
{
    SamiCollectorMigration *m = user_data;
    Call *call = job->data;
    call->kind->n_jobs--;
    add_up(&call->kind->counts, &call->counts);
    if (call->then)
        call->then(m, call->counter);
    g_clear_pointer(&call->records, g_byte_array_unref);
    g_clear_pointer(&call->counts.refusals, g_array_unref);
    g_free(call);
    sami_collector_migration_job_done(job, m); /* last: the migration may be freed from here on */
}

typedef void (*ThenFunc)(SamiCollectorMigration *m, guint64 counter);

/* All of it before the thread has it. */
static void
submit(Kind *kind, void (*work)(Kind *, gpointer), GByteArray *records, guint64 counter, ThenFunc then)
{
    SamiCollectorMigration *m = kind->migration;
    SamiJob *job = sami_collector_migration_prepare(m, SAMI_JOB_CALL, on_called);
    Call *call = g_new0(Call, 1);
    *call = (Call){ .kind = kind, .work = work, .then = then, .records = records, .counter = counter };
    call->read_ms = (guint64) g_get_monotonic_time() / 1000 - (m->session ? m->session->stream->age_ms : 0);
    kind->n_jobs++;
    job->call = on_call;
    job->data = call;
    job->n = records ? (guint) (records->len / kind->kind->size) : 0;
    sami_injector_submit(m->collector->kinds->injector, job);
}

/* Migrations. */

static gboolean
is_in_list(const SamiSigner *signer, const gchar *name)
{
    return signer && signer->config->kinds && g_strv_contains((const gchar *const *) signer->config->kinds, name);
}

void
sami_collector_kinds_begin(SamiCollectorMigration *m)
{
    const SamiConfig *config = sami_config_ref(m->collector->config);
    m->kinds = g_new0(SamiCollectorKinds, 1);
    for (guint i = 0; i < N_KINDS; i++) {
        Kind *kind = &m->kinds->kinds[i];
        g_autofree gchar *name = g_strdup_printf("%s.%s", m->hex, sami_sink_kinds[i]->name);
        *kind = (Kind){ .migration = m, .kind = sami_sink_kinds[i],
                        .log_path = config->journal ? g_build_filename(config->journal_dir, name, NULL) : NULL };
        kind->context = (SamiKindContext){ .config = config, .peer = m->peer, .vm = (SamiPrefix *) (void *) m->vm->data, .n_vm = m->vm->len,
                                           .max_elements = m->signer ? m->signer->config->max_elements : 0, .log_path = kind->log_path,
                                           .siblings = m->collector->kinds->states[i] };
        kind->batch = g_byte_array_new();
    }
}

void
sami_collector_kinds_free(SamiCollectorMigration *m)
{
    if (!m->kinds)
        return;
    sami_config_unref(m->kinds->kinds[0].context.config);
    for (guint i = 0; i < N_KINDS; i++) {
        Kind *kind = &m->kinds->kinds[i];
        if (kind->state) /* at the end of the process, when the thread has stopped: a restart goes on with the log */
            kind->kind->close(kind->state);
        g_free(kind->log_path);
        g_byte_array_unref(kind->batch);
        g_clear_pointer(&kind->counts.refusals, g_array_unref);
    }
    g_clear_pointer(&m->kinds, g_free);
}

gboolean
sami_collector_kinds_take(SamiCollectorMigration *m, const SamiRecord *record)
{
    for (guint i = 0; i < N_KINDS; i++) {
        Kind *kind = &m->kinds->kinds[i];
        if (kind->kind->record != record->kind)
            continue;
        g_byte_array_append(kind->batch, (const guint8 *) &record->session, (guint) kind->kind->size); /* where every record begins */
        return TRUE;
    }
    return FALSE;
}

void
sami_collector_kinds_drop(SamiCollectorMigration *m)
{
    for (guint i = 0; i < N_KINDS; i++)
        g_byte_array_set_size(m->kinds->kinds[i].batch, 0);
}

/* Not taken at all: told once. */
static void
refuse_batch(Kind *kind, guint n, guint64 counter, SamiReason reason)
{
    g_autofree gchar *text = g_strdup_printf("%s: %s", kind->kind->name, sami_reason_text(reason));
    for (guint i = 0; i < n; i++)
        sami_kind_refuse(&kind->counts, reason, counter, kind->counts.refused[reason] == 0 ? text : NULL);
    kind->counts.n_records += n;
}

void
sami_collector_kinds_flush(SamiCollectorMigration *m, guint64 counter)
{
    for (guint i = 0; i < N_KINDS; i++) {
        Kind *kind = &m->kinds->kinds[i];
        guint n = (guint) (kind->batch->len / kind->kind->size);
        if (n == 0)
            continue;
        /* A replication has no end at which they would be whole; and what comes behind an undo would stay. */
        gboolean is_aborted = m->phase == SAMI_PHASE_ROLLBACK || sami_collector_is_over(m->phase);
        SamiReason reason = is_aborted                                                  ? SAMI_REASON_ABORTED
                            : !is_in_list(m->ruler, kind->kind->name) || m->replication ? SAMI_REASON_KIND_NOT_ALLOWED
                            : m->policy.n_vm == 0                                       ? SAMI_REASON_VM_NOT_ALLOWED
                                                                                        : SAMI_REASON_NONE;
        if (reason != SAMI_REASON_NONE) {
            refuse_batch(kind, n, counter, reason);
            g_byte_array_set_size(kind->batch, 0);
            continue;
        }
        submit(kind, work_apply, g_steal_pointer(&kind->batch), counter, NULL);
        kind->batch = g_byte_array_new();
    }
}

gboolean
sami_collector_kinds_wait(SamiCollectorMigration *m, guint64 counter, void (*then)(SamiCollectorMigration *m, guint64 counter))
{
    for (guint i = 0; i < N_KINDS; i++)
        if (m->kinds->kinds[i].n_jobs > 0) { /* the thread is one: what is submitted now is behind all of them */
            submit(&m->kinds->kinds[i], NULL, NULL, counter, then);
            return TRUE;
        }
    return FALSE;
}

void
sami_collector_kinds_undo(SamiCollectorMigration *m)
{
    for (guint i = 0; i < N_KINDS; i++)
        submit(&m->kinds->kinds[i], work_undo, NULL, 0, NULL);
}

void
sami_collector_kinds_forget(SamiCollectorMigration *m)
{
    for (guint i = 0; i < N_KINDS; i++)
        submit(&m->kinds->kinds[i], work_forget, NULL, 0, NULL);
}

/* Answers and numbers. */

void
sami_collector_kinds_add_reasons(SamiCollectorMigration *m, guint8 scope, guint64 reasons[SAMI_N_REASONS])
{
    for (guint i = 0; i < N_KINDS; i++) {
        const SamiKindCounts *counts = &m->kinds->kinds[i].counts;
        for (guint k = 0; k < SAMI_N_REASONS; k++)
            reasons[k] += scope == SAMI_SCOPE_DEGRADED ? counts->degraded[k] : counts->refused[k];
    }
}

void
sami_collector_kinds_answer(SamiCollectorMigration *m)
{
    for (guint i = 0; i < N_KINDS; i++) {
        Kind *kind = &m->kinds->kinds[i];
        SamiRecord record = { .kind = SAMI_RECORD_REFUSAL };
        for (guint k = 0; m->session && kind->counts.refusals && k < kind->counts.refusals->len; k++) {
            record.refusal = g_array_index(kind->counts.refusals, SamiRefusal, k);
            sami_collector_session_add(m->session, &record);
        }
        g_clear_pointer(&kind->counts.refusals, g_array_unref);
        record = (SamiRecord){ .kind = SAMI_RECORD_KIND_COUNT,
                               .kind_count = { (guint8) kind->kind->record, kind->counts.n_records, kind->counts.n_applied,
                                               kind->counts.n_unchanged, kind->counts.n_refused } };
        if (m->session && kind->counts.n_records > 0)
            sami_collector_session_add(m->session, &record);
    }
}

void
sami_collector_kinds_describe(SamiCollectorMigration *m, JsonObject *counts)
{
    for (guint i = 0; i < N_KINDS; i++) {
        const Kind *kind = &m->kinds->kinds[i];
        JsonObject *object = json_object_new();
        json_object_set_int_member(object, "received", (gint64) kind->counts.n_records);
        json_object_set_int_member(object, "applied", (gint64) kind->counts.n_applied);
        json_object_set_int_member(object, "unchanged", (gint64) kind->counts.n_unchanged);
        json_object_set_int_member(object, "refused", (gint64) kind->counts.n_refused);
        json_object_set_int_member(object, "undone", (gint64) kind->counts.n_undone);
        json_object_set_int_member(object, "lost", (gint64) kind->counts.n_lost);
        json_object_set_object_member(counts, kind->kind->name, object);
    }
}

void
sami_collector_kinds_add_totals(const SamiCollectorMigration *m, SamiTotals *totals)
{
    for (guint i = 0; m->kinds && i < N_KINDS; i++) {
        const SamiKindCounts *counts = &m->kinds->kinds[i].counts;
        totals->kinds[i].n_applied += counts->n_applied;
        totals->kinds[i].n_unchanged += counts->n_unchanged;
        totals->kinds[i].n_refused += counts->n_refused;
        totals->kinds[i].n_undone += counts->n_undone;
        totals->kinds[i].n_lost += counts->n_lost;
        for (guint k = 0; k < SAMI_N_REASONS; k++)
            totals->refused[k] += counts->refused[k];
    }
}
