/* What becomes of a session and its migration when the kernel's socket or the disk fails, or time is over: the peer is told why, once; the operator has a
 * line and a counter; and nothing is left in the table, in the budgets or unfinished on the disk. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "collector/apply.h"
#include "firewall/fake.h"
#include "tests/unit/collector-lab.h"
#include "tests/unit/harness.h"

static Lab *lab;

static void
begin(void)
{
    lab = lab_new();
}

static void
end(void)
{
    lab_free(lab);
    lab = NULL;
}

static SamiCollectorMigration *
migration(guint8 id)
{
    const guint8 octets[16] = { id };
    return sami_collector_find(lab->collector, octets);
}

/* The session was refused so, in one Message that is the last one, and is over. */
static void
expect_refused(LabPeer *peer, SamiReason reason, const gchar *word)
{
    const SamiRefusal *refusal = lab_refusal(peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(refusal);
    CU_ASSERT_EQUAL(refusal->reason, reason);
    CU_ASSERT_PTR_NOT_NULL(strstr(refusal->detail, word));
    if (refusal->reason != reason || !strstr(refusal->detail, word))
        g_printerr("%s: %s\n", sami_reason_id(refusal->reason), refusal->detail);
    lab_settle(lab);
    CU_ASSERT_EQUAL(peer->n_last, 1);
    CU_ASSERT_TRUE(peer->is_closed);
    CU_ASSERT_EQUAL(lab->collector->refused_messages[reason], 1);
    CU_ASSERT_TRUE(lab_was_told(lab, sami_reason_id(reason)));
}

static gboolean
is_aborted(gpointer user_data)
{
    const SamiCollectorMigration *m = user_data;
    return m->phase == SAMI_PHASE_ABORTED && m->is_forgotten && m->n_jobs == 0;
}

/* And so its migration was undone, to the last entry. */
static void
expect_undone(guint8 id)
{
    SamiCollectorMigration *m = migration(id);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CU_ASSERT_TRUE(lab_wait(lab, is_aborted, m));
    CU_ASSERT_PTR_NULL(m->session);
    CU_ASSERT_EQUAL(m->lease_timer, 0);
    CU_ASSERT_EQUAL(lab->collector->n_results[SAMI_PHASE_ABORTED], 1);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 0);
    CU_ASSERT_EQUAL(sami_budget_used(lab->collector->budget), 0);
    CU_ASSERT_EQUAL(lab_count_files(lab, ".ledger"), 0);
    CU_ASSERT_EQUAL(lab_count_files(lab, ".closed"), 1);
}

/* A check leaves nothing, whatever comes of it. */
static void
expect_nothing(void)
{
    lab_settle(lab);
    CU_ASSERT_EQUAL(lab->collector->sessions->len, 0);
    CU_ASSERT_EQUAL(lab->collector->migrations->len, 0);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 0);
    CU_ASSERT_EQUAL(lab_count_files(lab, ""), 0);
}

static LabPeer *
begin_check(guint32 kinds)
{
    LabPeer *peer = lab_connect(lab, 1, SAMI_OPENING_CHECK);
    lab_add_begin(peer, kinds);
    lab_send(peer);
    lab_settle(lab);
    return peer;
}

static void
test_check_late(void)
{
    begin();
    lab->config->lease_s = 1;
    LabPeer *peer = begin_check(SAMI_KIND_SESSION);
    lab_add_flows(peer, 0, 3, SAMI_ACTION_CREATED, 1);
    lab_send(peer); /* and never its marker */
    expect_refused(peer, SAMI_REASON_TOO_LATE, "no longer than the lease");
    CU_ASSERT_EQUAL(lab->collector->n_checks, 1);
    expect_nothing();
    end();
}

/* What is no check: a replication, a second begin, a count that is not that of what came. */
static void
test_check_protocol(void)
{
    begin();
    LabPeer *peer = begin_check(SAMI_KIND_SESSION | SAMI_KIND_REPLICATION);
    expect_refused(peer, SAMI_REASON_PROTOCOL, "");
    expect_nothing();
    end();
    begin();
    SamiRecord again = { .kind = SAMI_RECORD_BEGIN, .begin = { 1, 60, SAMI_KIND_SESSION, "fw2.example" } };
    peer = begin_check(SAMI_KIND_SESSION);
    lab_add(peer, &again);
    lab_send(peer);
    expect_refused(peer, SAMI_REASON_PROTOCOL, "");
    expect_nothing();
    end();
    begin();
    peer = begin_check(SAMI_KIND_SESSION);
    lab_add_flows(peer, 0, 3, SAMI_ACTION_CREATED, 1);
    lab_mark(peer, SAMI_MARKER_SNAPSHOT, 4);
    expect_refused(peer, SAMI_REASON_PROTOCOL, "other records than came");
    expect_nothing();
    end();
}

/* Of what there is, the end of a flow is no part: it would be refused, and the rest would not. */
static void
test_check_deleted(void)
{
    begin();
    LabPeer *peer = begin_check(SAMI_KIND_SESSION);
    lab_add_flows(peer, 0, 2, SAMI_ACTION_CREATED, 1);
    lab_add_flows(peer, 2, 1, SAMI_ACTION_DELETED, 1);
    lab_mark(peer, SAMI_MARKER_SNAPSHOT, 3);
    const SamiReceipt *receipt = lab_receipt(peer, SAMI_RECEIPT_CHECKED);
    CU_ASSERT_PTR_NOT_NULL_FATAL(receipt);
    CU_ASSERT_EQUAL(receipt->n_records, 3);
    CU_ASSERT_EQUAL(receipt->n_accepted, 2);
    CU_ASSERT_EQUAL(receipt->n_refused, 1);
    guint n = 0;
    for (guint i = 0; i < peer->answers->len; i++) {
        const SamiRecord *record = &g_array_index(peer->answers, SamiRecord, i);
        n += record->kind == SAMI_RECORD_REFUSAL && record->refusal.reason == SAMI_REASON_STATE_RANGE;
    }
    CU_ASSERT_EQUAL(n, 1);
    lab_close(peer);
    expect_nothing();
    end();
}

/* Nobody can say what is in the way, so nobody says that nothing is. In one look-up, and in the first one of several. */
static void
test_check_kernel(void)
{
    static const guint n[] = { 3, 257 };
    for (guint i = 0; i < G_N_ELEMENTS(n); i++) {
        begin();
        LabPeer *peer = begin_check(SAMI_KIND_SESSION);
        lab_add_flows(peer, 0, n[i], SAMI_ACTION_CREATED, 1);
        sami_firewall_fake_fail(lab->collector->firewall, 0, 1);
        lab_mark(peer, SAMI_MARKER_SNAPSHOT, n[i]);
        expect_refused(peer, SAMI_REASON_KERNEL, "No buffer space");
        expect_nothing();
        end();
    }
}

/* The kernel has taken the flows, and nobody hears that it has; then the removal fails as well, and is tried again. */
static void
test_kernel(void)
{
    for (guint n_failures = 1; n_failures <= 3; n_failures++) {
        begin();
        LabPeer *peer = lab_begin(lab, 1, 0);
        lab_add_flows(peer, 0, 3, SAMI_ACTION_CREATED, 1);
        lab_send(peer);
        sami_firewall_fake_fail(lab->collector->firewall, 0, n_failures);
        expect_refused(peer, SAMI_REASON_KERNEL, "No buffer space");
        expect_undone(1);
        CU_ASSERT_EQUAL(lab->collector->n_rolled_back, 3);
        end();
    }
}

/* Two Messages of the same flow are with the thread that injects when the first one fails. */
static void
test_kernel_behind(void)
{
    begin();
    LabPeer *peer = lab_begin(lab, 1, 300);
    for (guint i = 0; i < 2; i++) { /* new flows, and then one that has to be looked at */
        lab_add_flows(peer, 300, 256, SAMI_ACTION_CREATED, 1 + i);
        lab_add_flows(peer, 0, 1, SAMI_ACTION_UPDATE, 2 + i);
        lab_send(peer);
    }
    sami_firewall_fake_fail(lab->collector->firewall, 0, 1);
    expect_refused(peer, SAMI_REASON_KERNEL, "No buffer space");
    expect_undone(1);
    end();
}

/* What one migration could not do is no part of another one. */
static void
test_kernel_beside(void)
{
    begin();
    LabPeer *peer = lab_connect(lab, 1, SAMI_OPENING_NEW), *other = lab_begin(lab, 2, 3); /* they are read in this order */
    lab_add_begin(peer, SAMI_KIND_SESSION);
    lab_add_flows(peer, 1000, 1, SAMI_ACTION_CREATED, 1);
    lab_send(peer);
    lab_settle(lab);
    lab_add_flows(peer, 2000, 256, SAMI_ACTION_CREATED, 1);
    lab_add_flows(peer, 1000, 1, SAMI_ACTION_UPDATE, 2);
    lab_send(peer);
    lab_mark(other, SAMI_MARKER_FREEZE, 3);
    sami_firewall_fake_fail(lab->collector->firewall, 0, 1);
    expect_refused(peer, SAMI_REASON_KERNEL, "No buffer space");
    CU_ASSERT_TRUE(lab_wait(lab, is_aborted, migration(1)));
    const SamiReceipt *ready = lab_receipt(other, SAMI_RECEIPT_READY);
    CU_ASSERT_PTR_NOT_NULL_FATAL(ready);
    CU_ASSERT_EQUAL(ready->n_accepted, 3);
    CU_ASSERT_EQUAL(ready->n_present, 3);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 3);
    end();
}

/* No room for a Message on the disk: it is not carried out, nor is what was. */
static void
test_journal_full(void)
{
    begin();
    LabPeer *peer = lab_begin(lab, 1, 3);
    lab_fill_disk(sami_journal_fd(migration(1)->session->journal));
    lab_add_flows(peer, 3, 3, SAMI_ACTION_CREATED, 1);
    lab_send(peer);
    expect_refused(peer, SAMI_REASON_JOURNAL, "No space left");
    expect_undone(1);
    CU_ASSERT_EQUAL(migration(1)->apply->n_records, 3);
    end();
}

/* The directory is gone, so not even the hello is answered. */
static void
test_journal_gone(void)
{
    begin();
    CU_ASSERT_EQUAL_FATAL(g_rmdir(lab->journal), 0);
    CU_ASSERT_TRUE_FATAL(g_file_set_contents(lab->journal, "", 0, NULL));
    LabPeer *peer = lab_connect(lab, 1, SAMI_OPENING_NEW);
    expect_refused(peer, SAMI_REASON_JOURNAL, "journal ");
    CU_ASSERT_EQUAL(lab->collector->sessions->len, 0);
    CU_ASSERT_EQUAL(lab->collector->migrations->len, 0);
    end();
}

/* One that nobody could read after a restart has stayed for a person to look at: entries that it names may be in the table, so it is not written over. */
static void
test_ledger_left(void)
{
    static const gchar left[] = "no ledger";
    g_autofree gchar *text = NULL;
    begin();
    g_autofree gchar *path = g_build_filename(lab->journal, "01000000000000000000000000000000.ledger", NULL);
    CU_ASSERT_TRUE_FATAL(g_file_set_contents(path, left, -1, NULL));
    LabPeer *peer = lab_connect(lab, 1, SAMI_OPENING_NEW);
    lab_add_begin(peer, SAMI_KIND_SESSION);
    lab_send(peer);
    CU_ASSERT_PTR_NOT_NULL(lab_refusal(peer));
    CU_ASSERT_PTR_NOT_NULL(strstr(lab->log->str, ".ledger: File exists"));
    expect_refused(peer, SAMI_REASON_JOURNAL, "");
    CU_ASSERT_EQUAL(lab->collector->sessions->len, 0);
    CU_ASSERT_EQUAL(lab->collector->migrations->len, 0);
    CU_ASSERT_TRUE(g_file_get_contents(path, &text, NULL, NULL));
    CU_ASSERT_EQUAL(g_strcmp0(text, left), 0);
    end();
}

/* The ledger's file takes nothing more; Messages of the same flows are behind the one that finds out. */
static void
test_ledger_full(void)
{
    begin();
    LabPeer *peer = lab_begin(lab, 1, 3);
    lab_fill_disk(sami_ledger_file_fd(migration(1)->apply->file));
    for (guint i = 0; i < 3; i++) {
        lab_add_flows(peer, 3, 3, SAMI_ACTION_CREATED, 1 + i);
        lab_send(peer);
    }
    expect_refused(peer, SAMI_REASON_JOURNAL, "No space left");
    CU_ASSERT_TRUE(lab_wait(lab, is_aborted, migration(1)));
    CU_ASSERT_EQUAL(lab_count_entries(lab), 0);
    CU_ASSERT_EQUAL(sami_budget_used(lab->collector->budget), 0);
    end();
}

/* The freeze marker cannot be written: no READY. And then READY itself cannot be, when all is injected. */
static void
test_ledger_full_at_freeze(void)
{
    for (guint i = 0; i < 2; i++) {
        begin();
        LabPeer *peer = lab_begin(lab, 1, 3);
        SamiCollectorMigration *m = migration(1);
        if (i == 0)
            lab_fill_disk(sami_ledger_file_fd(m->apply->file));
        lab_mark(peer, SAMI_MARKER_FREEZE, 3);
        while (m->phase == SAMI_PHASE_FOLLOW)
            g_main_context_iteration(NULL, TRUE);
        if (i == 1)
            lab_fill_disk(sami_ledger_file_fd(m->apply->file));
        expect_refused(peer, SAMI_REASON_JOURNAL, "No space left");
        CU_ASSERT_TRUE(lab_wait(lab, is_aborted, m));
        for (guint k = 0; k < peer->answers->len; k++) {
            const SamiRecord *record = &g_array_index(peer->answers, SamiRecord, k);
            CU_ASSERT_FALSE(record->kind == SAMI_RECORD_RECEIPT && record->receipt.phase == SAMI_RECEIPT_READY);
        }
        CU_ASSERT_EQUAL(lab_count_entries(lab), 0);
        CU_ASSERT_EQUAL(sami_budget_used(lab->collector->budget), 0);
        end();
    }
}

/* From now on answers wait in its session: a marker that is no more is answered, and changes nothing. */
static void
make_deaf(LabPeer *peer)
{
    SamiCollectorSession *session = migration(peer->stream->migration_id[0])->session;
    int none = 0;
    peer->is_deaf = TRUE;
    CU_ASSERT_EQUAL(setsockopt(session->socket_fd, SOL_SOCKET, SO_SNDBUF, &none, sizeof none), 0);
    while (g_queue_is_empty(&session->out)) {
        lab_mark(peer, session->migration->replication ? SAMI_MARKER_ALIVE : SAMI_MARKER_SNAPSHOT, 3);
        lab_settle(lab);
    }
}

/* A replication is not rolled back: what is here stays, and the peer comes again and says everything anew. */
static LabPeer *
replicate(guint8 id, guint n)
{
    LabPeer *peer = lab_connect(lab, id, SAMI_OPENING_NEW);
    lab_add_begin(peer, SAMI_KIND_SESSION | SAMI_KIND_REPLICATION);
    lab_add_flows(peer, 0, n, SAMI_ACTION_CREATED, 1);
    lab_mark(peer, SAMI_MARKER_SNAPSHOT, n);
    return peer;
}

static void
test_replication(void)
{
    begin();
    LabPeer *peer = replicate(1, 3);
    CU_ASSERT_PTR_NOT_NULL(lab_receipt(peer, SAMI_RECEIPT_SNAPSHOT));
    make_deaf(peer); /* so that its session is there for every one of them */
    for (guint i = 0; i < 3; i++) {
        lab_add_flows(peer, 3 + i, 1, SAMI_ACTION_CREATED, 1);
        lab_send(peer);
    }
    sami_firewall_fake_fail(lab->collector->firewall, 0, 3);
    lab_settle(lab);
    peer->is_deaf = FALSE;
    expect_refused(peer, SAMI_REASON_KERNEL, "No buffer space");
    CU_ASSERT_EQUAL(lab->collector->sessions->len, 0);
    CU_ASSERT_EQUAL(lab->collector->migrations->len, 1);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 6); /* done, and not known to be */
    peer = replicate(2, 7);
    const SamiReceipt *receipt = lab_receipt(peer, SAMI_RECEIPT_SNAPSHOT);
    CU_ASSERT_PTR_NOT_NULL_FATAL(receipt);
    CU_ASSERT_EQUAL(receipt->n_refused, 0);
    CU_ASSERT_EQUAL(receipt->n_present, 7);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 7);
    CU_ASSERT_EQUAL(lab->collector->migrations->len, 1);
    lab_add_flows(peer, 0, 7, SAMI_ACTION_DELETED, 1); /* all of them are known to be the peer's */
    lab_send(peer);
    lab_settle(lab);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 0);
    end();
}

static void
ready(LabPeer *peer, guint n)
{
    lab_mark(peer, SAMI_MARKER_FREEZE, n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(lab_receipt(peer, SAMI_RECEIPT_READY));
}

/* What could not be read back is not called right, so that no source removes what it has. */
static void
test_read_back(void)
{
    static const struct {
        guint n_flows, n_good;
    } rows[] = { { 3, 0 }, { 3, 1 }, { 3, 2 }, { 1200, 1 } }; /* of many it takes a dump */
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        begin();
        LabPeer *peer = lab_begin(lab, 1, rows[i].n_flows);
        ready(peer, rows[i].n_flows);
        lab_mark(peer, SAMI_MARKER_SETTLE, rows[i].n_flows);
        sami_firewall_fake_fail(lab->collector->firewall, rows[i].n_good, 1);
        const SamiReceipt *final = lab_receipt(peer, SAMI_RECEIPT_FINAL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(final);
        CU_ASSERT_EQUAL(final->n_exact, 0);
        CU_ASSERT_EQUAL(final->n_degraded, rows[i].n_flows);
        CU_ASSERT_EQUAL(final->flags, SAMI_RECEIPT_TRUNCATED);
        CU_ASSERT_EQUAL(migration(1)->apply->degraded[SAMI_REASON_UNVERIFIED], rows[i].n_flows);
        CU_ASSERT_TRUE(lab_was_told(lab, "No buffer space"));
        CU_ASSERT_EQUAL(lab_count_entries(lab), rows[i].n_flows);
        end();
    }
}

/* After the decision nothing is taken back, whatever fails; and nobody takes the lists for whole. */
static void
test_decided(void)
{
    begin();
    LabPeer *peer = lab_begin(lab, 1, 3);
    ready(peer, 3);
    lab_add_flows(peer, 0, 3, SAMI_ACTION_UPDATE, 1); /* the audit */
    lab_send(peer);
    sami_firewall_fake_fail(lab->collector->firewall, 0, 1);
    lab_settle(lab);
    CU_ASSERT_TRUE(lab_was_told(lab, "No buffer space"));
    CU_ASSERT_EQUAL(migration(1)->phase, SAMI_PHASE_READY);
    CU_ASSERT_PTR_NOT_NULL(migration(1)->session);
    lab_mark(peer, SAMI_MARKER_SETTLE, 6);
    const SamiReceipt *final = lab_receipt(peer, SAMI_RECEIPT_FINAL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(final);
    CU_ASSERT_EQUAL(final->flags, SAMI_RECEIPT_TRUNCATED);
    CU_ASSERT_EQUAL(final->n_exact, 3);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 3);
    end();
}

static gboolean
waits_to_tighten(gpointer user_data)
{
    const SamiCollectorMigration *m = user_data;
    return m->n_strict_tries > 0 && m->n_jobs == 0;
}

static gboolean
is_forgotten(gpointer user_data)
{
    const SamiCollectorMigration *m = user_data;
    return m->is_forgotten && m->n_jobs == 0;
}

/* Who cannot be made strict now stays in the ledger until he is. */
static void
test_strict(void)
{
    for (guint n_good = 0; n_good < 2; n_good++) {
        SamiSession s = lab_flow(0), found;
        gboolean is_found;
        begin();
        LabPeer *peer = lab_begin(lab, 1, 3);
        SamiCollectorMigration *m = migration(1);
        for (guint i = 0; i < 3; i++) { /* packets that make it safe */
            SamiFlowKey key = lab_flow(i).key;
            CU_ASSERT_TRUE(sami_firewall_fake_touch(lab->collector->firewall, &key, 0, 52));
            CU_ASSERT_TRUE(sami_firewall_fake_touch(lab->collector->firewall, &key, 1, 52));
        }
        ready(peer, 3);
        lab->config->grace_ms = 1000000;
        lab_mark(peer, SAMI_MARKER_SETTLE, 3);
        CU_ASSERT_PTR_NOT_NULL_FATAL(lab_receipt(peer, SAMI_RECEIPT_FINAL));
        sami_firewall_fake_fail(lab->collector->firewall, n_good, 1);
        lab_hurry(m->strict_timer);
        CU_ASSERT_TRUE(lab_wait(lab, waits_to_tighten, m));
        CU_ASSERT_TRUE(lab_was_told(lab, "No buffer space"));
        CU_ASSERT_FALSE(m->is_forgotten);
        CU_ASSERT_EQUAL(lab_count_files(lab, ".ledger"), 1);
        CU_ASSERT_NOT_EQUAL_FATAL(m->strict_timer, 0);
        lab_hurry(m->strict_timer);
        CU_ASSERT_TRUE(lab_wait(lab, is_forgotten, m));
        CU_ASSERT_EQUAL(m->n_strict_tries, 2);
        CU_ASSERT_TRUE(sami_firewall_get(lab->collector->firewall, &s.key, 1, &found, &is_found, NULL) && is_found);
        CU_ASSERT_EQUAL((found.tcp_flags[0] | found.tcp_flags[1]) & SAMI_TCP_FLAG_BE_LIBERAL, 0);
        CU_ASSERT_EQUAL(lab_count_files(lab, ".ledger"), 0);
        end();
    }
}

/* The kernel has taken an expectation of a flow that was here, and says no more; what it is known by was never heard. */
static void
test_expectation(void)
{
    SamiSession master = lab_flow(0);
    SamiOp op = { .kind = SAMI_OP_CREATE, .session = &master };
    SamiRecord record = { .kind = SAMI_RECORD_EXPECTATION };
    begin();
    master.has |= SAMI_HAS_HELPER;
    g_strlcpy(master.helper, "ftp", sizeof master.helper);
    CU_ASSERT_TRUE_FATAL(sami_firewall_apply(lab->collector->firewall, &op, 1, NULL) && op.result == 0);
    LabPeer *peer = lab_begin(lab, 1, 1);
    CU_ASSERT_EQUAL(migration(1)->apply->n_merged, 1);
    record.expectation = (SamiExpectation){ .key = master.key, .master = master.key, .action = SAMI_ACTION_CREATED, .timeout_s = 100 };
    record.expectation.key.orig.src_port = 0;
    record.expectation.key.orig.dst_port = 40000;
    memset(record.expectation.mask_src.octets, 0xff, 4);
    lab_add(peer, &record);
    lab_mark(peer, SAMI_MARKER_FREEZE, 1);
    sami_firewall_fake_fail(lab->collector->firewall, 5, 1); /* what was merged, lenient, the master, what it has, the creation; not its time */
    expect_refused(peer, SAMI_REASON_KERNEL, "No buffer space");
    CU_ASSERT_TRUE(lab_wait(lab, is_aborted, migration(1)));
    CU_ASSERT_EQUAL(migration(1)->removal.n_expectations_left, 1);
    CU_ASSERT_EQUAL(migration(1)->removal.n_restored, 1);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 1);
    end();
}

/* Nobody knows how much room there is, so there is none. */
static void
test_room(void)
{
    begin();
    sami_firewall_fake_fail(lab->collector->firewall, 0, 1);
    LabPeer *peer = lab_connect(lab, 1, SAMI_OPENING_NEW);
    CU_ASSERT_EQUAL_FATAL(peer->answers->len, 1);
    CU_ASSERT_EQUAL(g_array_index(peer->answers, SamiRecord, 0).hello_reply.sessions_max, 0);
    CU_ASSERT_TRUE(lab_was_told(lab, "so there is none"));
    sami_firewall_fake_fail(lab->collector->firewall, 0, 1);
    lab_add_begin(peer, SAMI_KIND_SESSION);
    lab_add_flows(peer, 0, 3, SAMI_ACTION_CREATED, 1);
    lab_mark(peer, SAMI_MARKER_SNAPSHOT, 3);
    const SamiReceipt *receipt = lab_receipt(peer, SAMI_RECEIPT_SNAPSHOT);
    CU_ASSERT_PTR_NOT_NULL_FATAL(receipt);
    CU_ASSERT_EQUAL(receipt->n_refused, 3);
    CU_ASSERT_EQUAL(migration(1)->apply->refused[SAMI_REASON_MAX_SESSIONS], 3);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 0);
    end();
}

/* A flow of two migrations stays as long as either of them is not undone: an abort passes it on. */
static void
test_passed_on(void)
{
    begin();
    LabPeer *first = lab_begin(lab, 1, 3);
    lab_begin(lab, 2, 3);
    SamiCollectorMigration *a = migration(1), *b = migration(2);
    CU_ASSERT_EQUAL(b->apply->n_merged, 3);
    CU_ASSERT_TRUE(sami_collector_migration_undo(a, SAMI_ON_ABORT));
    CU_ASSERT_PTR_NOT_NULL(lab_receipt(first, SAMI_RECEIPT_ABORTED));
    CU_ASSERT_TRUE(lab_wait(lab, is_aborted, a));
    CU_ASSERT_EQUAL(a->removal.n_passed, 3);
    CU_ASSERT_EQUAL(a->removal.n_removed, 0);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 3);
    CU_ASSERT_EQUAL(sami_budget_used(lab->collector->budget), 3);
    lab_restart(lab); /* the ledger's file has it, too */
    CU_ASSERT_TRUE(lab_wait(lab, is_aborted, migration(2)));
    CU_ASSERT_EQUAL(migration(2)->removal.n_removed, 3);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 0);
    end();
}

/* And READY takes it: what the other one created is not its own any more, not after a restart either. */
static void
test_taken_over(void)
{
    begin();
    lab_begin(lab, 1, 3);
    LabPeer *second = lab_begin(lab, 2, 3);
    ready(second, 3);
    CU_ASSERT_EQUAL(migration(1)->apply->n_held, 0);
    CU_ASSERT_EQUAL(migration(2)->apply->n_held, 3);
    lab_restart(lab);
    CU_ASSERT_TRUE(lab_wait(lab, is_aborted, migration(1)));
    CU_ASSERT_EQUAL(migration(1)->removal.n_removed, 0);
    CU_ASSERT_EQUAL(migration(2)->phase, SAMI_PHASE_IN_DOUBT);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 3);
    CU_ASSERT_TRUE(sami_collector_migration_resolve(migration(2), FALSE));
    CU_ASSERT_TRUE(lab_wait(lab, is_aborted, migration(2)));
    CU_ASSERT_EQUAL(lab_count_entries(lab), 0);
    end();
}

static guint8
tcp_flags(guint number)
{
    SamiSession s = lab_flow(number), found = { .has = 0 };
    gboolean is_found = FALSE;
    CU_ASSERT_TRUE(sami_firewall_get(lab->collector->firewall, &s.key, 1, &found, &is_found, NULL) && is_found);
    return found.tcp_flags[0];
}

static void
make_strict(SamiSession *session)
{
    session->tcp_flags[0] = session->tcp_flags[1] = 0;
}

/* What was here before is strict again after a restart and an undo; what the peer ended meanwhile is not looked for. */
static void
test_restart(void)
{
    SamiSession ours = lab_flow(0);
    SamiOp op = { .kind = SAMI_OP_CREATE, .session = &ours };
    begin();
    CU_ASSERT_TRUE_FATAL(sami_firewall_apply(lab->collector->firewall, &op, 1, NULL) && op.result == 0);
    CU_ASSERT_TRUE(sami_firewall_fake_change(lab->collector->firewall, &ours.key, make_strict));
    LabPeer *peer = lab_begin(lab, 1, 3);
    lab_add_flows(peer, 1, 1, SAMI_ACTION_DELETED, 1);
    lab_send(peer);
    ready(peer, 4);
    CU_ASSERT_EQUAL(tcp_flags(0) & SAMI_TCP_FLAG_BE_LIBERAL, SAMI_TCP_FLAG_BE_LIBERAL);
    lab_restart(lab);
    SamiCollectorMigration *m = migration(1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CU_ASSERT_EQUAL(m->phase, SAMI_PHASE_IN_DOUBT);
    CU_ASSERT_TRUE(m->is_recovered);
    CU_ASSERT_EQUAL(m->apply->n_held, 1);
    CU_ASSERT_TRUE(sami_collector_migration_resolve(m, FALSE));
    CU_ASSERT_TRUE(lab_wait(lab, is_aborted, m));
    CU_ASSERT_EQUAL(m->removal.n_removed, 1);
    CU_ASSERT_EQUAL(m->removal.n_gone, 0);
    CU_ASSERT_EQUAL(m->removal.n_restored, 1);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 1);
    CU_ASSERT_EQUAL(tcp_flags(0) & SAMI_TCP_FLAG_BE_LIBERAL, 0);
    end();
}

/* A file that cannot be read is told of, and everything else goes on. */
static void
test_unreadable(void)
{
    begin();
    lab_begin(lab, 1, 3);
    g_autofree gchar *path = g_build_filename(lab->journal, "02000000000000000000000000000000.ledger", NULL);
    CU_ASSERT_TRUE_FATAL(g_file_set_contents(path, "no ledger", -1, NULL));
    lab_restart(lab);
    CU_ASSERT_TRUE(lab_was_told(lab, "entries that it created may be in the table"));
    CU_ASSERT_TRUE(lab_wait(lab, is_aborted, migration(1)));
    CU_ASSERT_EQUAL(lab_count_entries(lab), 0);
    CU_ASSERT_TRUE(g_file_test(path, G_FILE_TEST_EXISTS));
    CU_ASSERT_EQUAL(lab->collector->migrations->len, 1);
    end();
}

/* Nor is it silent where what an undo needs of another kind cannot be read. */
static void
test_unreadable_kind(void)
{
    begin();
    lab_begin(lab, 1, 3);
    g_autofree gchar *path = g_build_filename(lab->journal, "01000000000000000000000000000000.cumulative", NULL);
    CU_ASSERT_EQUAL_FATAL(symlink("/dev/null", path), 0);
    lab_restart(lab);
    CU_ASSERT_TRUE(lab_wait(lab, is_aborted, migration(1)));
    CU_ASSERT_TRUE(lab_was_told(lab, "cumulative data of fw1.example from before the restart stays"));
    CU_ASSERT_EQUAL(lab_count_entries(lab), 0);
    end();
}

/* In doubt, and then the exporter comes back: the VM goes on there. */
static void
test_thaw_in_doubt(void)
{
    begin();
    LabPeer *peer = lab_begin(lab, 1, 3);
    SamiCollectorMigration *m = migration(1);
    ready(peer, 3);
    lab_close(peer);
    CU_ASSERT_PTR_NULL(m->session);
    CU_ASSERT_NOT_EQUAL_FATAL(m->lease_timer, 0);
    lab_hurry(m->lease_timer);
    lab_settle(lab);
    CU_ASSERT_EQUAL(m->phase, SAMI_PHASE_IN_DOUBT);
    CU_ASSERT_EQUAL(lab->collector->n_results[SAMI_PHASE_IN_DOUBT], 1);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 3);
    peer = lab_connect(lab, 1, SAMI_OPENING_RESUME);
    CU_ASSERT_PTR_EQUAL(m->session, g_ptr_array_index(lab->collector->sessions, 0));
    lab_mark(peer, SAMI_MARKER_THAW, 3);
    CU_ASSERT_PTR_NOT_NULL(lab_receipt(peer, SAMI_RECEIPT_ABORTED));
    lab_close(peer);
    expect_undone(1);
    end();
}

/* A peer that takes no answers, and one that does not end a session that is over, are cut off. */
static void
test_silent(void)
{
    begin();
    LabPeer *peer = lab_begin(lab, 1, 3);
    SamiCollectorSession *session = migration(1)->session;
    make_deaf(peer);
    CU_ASSERT_NOT_EQUAL_FATAL(session->take_by_us, 0);
    session->take_by_us = 1;
    sami_collector_sessions_watch(lab->collector);
    CU_ASSERT_PTR_NULL(migration(1)->session);
    CU_ASSERT_EQUAL(lab->collector->n_session_errors, 1);
    peer = lab_connect(lab, 1, SAMI_OPENING_RESUME);
    CU_ASSERT_PTR_NOT_NULL_FATAL(migration(1)->session);
    ready(peer, 3);
    lab_mark(peer, SAMI_MARKER_SETTLE, 3);
    CU_ASSERT_PTR_NOT_NULL(lab_receipt(peer, SAMI_RECEIPT_FINAL));
    CU_ASSERT_PTR_NOT_NULL_FATAL(migration(1)->session);
    migration(1)->session->say_by_us = 1;
    sami_collector_sessions_watch(lab->collector);
    lab_settle(lab);
    CU_ASSERT_EQUAL(lab->collector->sessions->len, 0);
    CU_ASSERT_EQUAL(lab->collector->n_session_errors, 2);
    CU_ASSERT_EQUAL(migration(1)->phase, SAMI_PHASE_DONE);
    end();
}

/* The listener does not keep to the frames: its session ends, which is counted. */
static void
test_frames(void)
{
    static const SamiFrameOpen open = { .version = 1, .transport = 1, .message_max = SAMI_MESSAGE_MAX, .name = "fw1.example", .address = "192.0.2.1:4740" };
    begin();
    LabPeer *peer = lab_begin(lab, 1, 3);
    CU_ASSERT_TRUE(sami_session_socket_send_open(peer->socket, &open, NULL));
    lab_settle(lab);
    CU_ASSERT_EQUAL(lab->collector->n_session_errors, 1);
    peer = lab_connect(lab, 1, SAMI_OPENING_RESUME);
    CU_ASSERT_EQUAL(send(sami_session_socket_fd(peer->socket), "\x09", 1, 0), 1);
    lab_settle(lab);
    CU_ASSERT_EQUAL(lab->collector->n_session_errors, 2);
    CU_ASSERT_EQUAL(lab->collector->sessions->len, 0);
    end();
}

/* Somebody with a certificate who is refused as often as he likes does not fill the log. */
static void
test_many_refusals(void)
{
    begin();
    for (guint i = 0; i < 70; i++)
        lab_connect(lab, (guint8) i, SAMI_OPENING_RESUME);
    CU_ASSERT_EQUAL(lab->collector->refused_messages[SAMI_REASON_RESUME_UNAVAILABLE], 70);
    guint n = 0;
    for (const gchar *at = lab->log->str; (at = strstr(at, "session refused")); at++)
        n++;
    CU_ASSERT_EQUAL(n, 60);
    lab->collector->refusals.minute_us = g_get_monotonic_time() - 61 * G_USEC_PER_SEC;
    sami_collector_sessions_watch(lab->collector);
    CU_ASSERT_TRUE(lab_was_told(lab, "10 more in a minute: sessions refused or broken"));
    CU_ASSERT_EQUAL(lab->collector->refusals.n, 0);
    end();
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "a check that does not end", test_check_late },
        { "a check that is none", test_check_protocol },
        { "a check with the end of a flow", test_check_deleted },
        { "a check that cannot look", test_check_kernel },
        { "the kernel fails", test_kernel },
        { "the kernel fails, and more is behind", test_kernel_behind },
        { "the kernel fails beside another migration", test_kernel_beside },
        { "a full journal", test_journal_full },
        { "no journal", test_journal_gone },
        { "a ledger that is there", test_ledger_left },
        { "a full ledger", test_ledger_full },
        { "a full ledger at the freeze marker", test_ledger_full_at_freeze },
        { "a replication", test_replication },
        { "a read-back", test_read_back },
        { "after the decision", test_decided },
        { "strict again", test_strict },
        { "an expectation", test_expectation },
        { "no headroom", test_room },
        { "two migrations, an abort", test_passed_on },
        { "two migrations, a decision", test_taken_over },
        { "a restart", test_restart },
        { "a ledger that cannot be read", test_unreadable },
        { "a log of another kind that cannot be read", test_unreadable_kind },
        { "a thaw in doubt", test_thaw_in_doubt },
        { "a peer that does nothing", test_silent },
        { "frames that are none", test_frames },
        { "refused over and over", test_many_refusals },
    };
    return sami_test_main("collector faults", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
