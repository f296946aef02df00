/* Replications and their peers as the whole state process sees them: one stream after another, several at once, a takeover, a signer that is revoked. */
#include <string.h>

#include "firewall/fake.h"
#include "firewall/origin.h"
#include "tests/unit/collector-lab.h"
#include "tests/unit/harness.h"

static Lab *lab;

static SamiCollectorMigration *
migration(guint8 id)
{
    const guint8 octets[16] = { id };
    return sami_collector_find(lab->collector, octets);
}

static LabPeer *
replicate(guint8 id, guint n)
{
    LabPeer *peer = lab_connect(lab, id, SAMI_OPENING_NEW);
    lab_add_begin(peer, SAMI_KIND_SESSION | SAMI_KIND_REPLICATION);
    lab_add_flows(peer, 0, n, SAMI_ACTION_CREATED, 1);
    lab_mark(peer, SAMI_MARKER_SNAPSHOT, n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(lab_receipt(peer, SAMI_RECEIPT_SNAPSHOT));
    return peer;
}

static void
expect_refused(LabPeer *peer, SamiReason reason)
{
    const SamiRefusal *refusal = lab_refusal(peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(refusal);
    CU_ASSERT_EQUAL(refusal->reason, reason);
    CU_ASSERT_EQUAL(lab->collector->refused_messages[reason], 1);
    CU_ASSERT_TRUE(lab_was_told(lab, sami_reason_id(reason)));
    CU_ASSERT_TRUE(peer->is_closed);
}

/* The peer was started anew before its old session was known to be dead: the same replica goes on, in the new one. */
static void
test_again(void)
{
    lab = lab_new();
    LabPeer *first = replicate(1, 3), *second = replicate(2, 3);
    CU_ASSERT_TRUE(first->is_closed);
    CU_ASSERT_EQUAL(first->n_last, 0);
    CU_ASSERT_FALSE(second->is_closed);
    CU_ASSERT_EQUAL(lab->collector->migrations->len, 1);
    CU_ASSERT_EQUAL(lab->collector->sessions->len, 1);
    CU_ASSERT_PTR_NULL(migration(1));
    CU_ASSERT_PTR_NOT_NULL(migration(2));
    CU_ASSERT_EQUAL(lab_count_entries(lab), 3);
    lab_close(second); /* and a lost peer is what a standby is for */
    CU_ASSERT_TRUE(lab_was_told(lab, "3 entries are kept as they are"));
    CU_ASSERT_EQUAL(lab_count_entries(lab), 3);
    lab_free(lab);
}

/* Two sessions have said hello with one id: whose begin is first has it, be it a move or a replication. */
static void
test_one_id(void)
{
    static const guint32 kinds[] = { SAMI_KIND_SESSION, SAMI_KIND_SESSION | SAMI_KIND_REPLICATION };
    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
        lab = lab_new();
        LabPeer *peers[] = { lab_connect(lab, 1, SAMI_OPENING_NEW), lab_connect(lab, 1, SAMI_OPENING_NEW) };
        for (guint k = 0; k < G_N_ELEMENTS(peers); k++) {
            lab_add_begin(peers[k], kinds[i]);
            lab_send(peers[k]);
            lab_settle(lab);
        }
        expect_refused(peers[1], SAMI_REASON_REPLAYED);
        lab_add_flows(peers[0], 0, 3, SAMI_ACTION_CREATED, 1);
        lab_mark(peers[0], SAMI_MARKER_SNAPSHOT, 3);
        CU_ASSERT_PTR_NOT_NULL(lab_receipt(peers[0], SAMI_RECEIPT_SNAPSHOT));
        CU_ASSERT_EQUAL(lab->collector->migrations->len, 1);
        CU_ASSERT_EQUAL(lab_count_entries(lab), 3);
        lab_free(lab);
    }
}

/* One that has ended, and was forgotten, has its end in the journal's directory. */
static void
test_closed_id(void)
{
    lab = lab_new();
    g_autofree gchar *path = g_build_filename(lab->journal, "01000000000000000000000000000000.closed", NULL);
    CU_ASSERT_TRUE_FATAL(g_file_set_contents(path, "", 0, NULL));
    LabPeer *peer = lab_connect(lab, 1, SAMI_OPENING_NEW);
    lab_add_begin(peer, SAMI_KIND_SESSION);
    lab_send(peer);
    lab_settle(lab);
    expect_refused(peer, SAMI_REASON_REPLAYED);
    CU_ASSERT_EQUAL(lab->collector->migrations->len, 0);
    lab_free(lab);
}

/* All that a signer may bring, without an address: of one that may not do that. */
static void
test_unscoped(void)
{
    SamiRecord begin = { .kind = SAMI_RECORD_BEGIN, .begin = { 0, 60, SAMI_KIND_SESSION | SAMI_KIND_REPLICATION, "fw2.example" } };
    for (guint is_allowed = 0; is_allowed < 2; is_allowed++) {
        lab = lab_new();
        SamiConfigSigner *signer = (SamiConfigSigner *) ((SamiSigner *) g_ptr_array_index(lab->signers, 0))->config;
        signer->unscoped = is_allowed;
        LabPeer *peer = lab_connect(lab, 1, SAMI_OPENING_NEW);
        lab_add(peer, &begin);
        lab_send(peer);
        lab_settle(lab);
        if (!is_allowed)
            expect_refused(peer, SAMI_REASON_VM_NOT_ALLOWED);
        CU_ASSERT_EQUAL(peer->is_closed, !is_allowed);
        CU_ASSERT_EQUAL(lab->collector->migrations->len, is_allowed);
        lab_free(lab);
    }
}

static gboolean
was_warned(gpointer user_data)
{
    return strstr(((Lab *) user_data)->log->str, "window tracking") != NULL;
}

/* What was taken over is ours, whether the kernel can be asked about it now or not. */
static void
test_takeover(void)
{
    SamiTotals totals;
    lab = lab_new();
    sami_collector_takeover(lab->collector, NULL, NULL); /* of nobody */
    CU_ASSERT_EQUAL(lab->collector->n_takeovers, 0);
    LabPeer *peer = replicate(1, 3);
    CU_ASSERT_EQUAL(sami_origin_n(lab->collector->origin), 3);
    sami_collector_takeover(lab->collector, "other.example", NULL);
    CU_ASSERT_EQUAL(lab->collector->n_takeovers, 0);
    sami_collector_takeover(lab->collector, NULL, NULL);
    CU_ASSERT_EQUAL(lab->collector->n_takeovers, 1);
    sami_firewall_fake_fail(lab->collector->firewall, 0, 1);
    CU_ASSERT_TRUE(lab_wait(lab, was_warned, lab));
    CU_ASSERT_TRUE(lab_was_told(lab, "stays lenient for now"));
    CU_ASSERT_EQUAL(lab->collector->taken_over->len, 1); /* for the next try */
    CU_ASSERT_EQUAL(sami_origin_n(lab->collector->origin), 0);
    sami_collector_totals(lab->collector, &totals);
    CU_ASSERT_EQUAL(totals.n_accepted, 3);
    lab_add_flows(peer, 0, 3, SAMI_ACTION_DELETED, 1); /* it has no say any more */
    lab_send(peer);
    lab_settle(lab);
    CU_ASSERT_EQUAL(lab_count_entries(lab), 3);
    lab_free(lab);
}

static gboolean
is_aborted(gpointer user_data)
{
    const SamiCollectorMigration *m = user_data;
    return m->phase == SAMI_PHASE_ABORTED && m->is_forgotten && m->n_jobs == 0;
}

/* Between two sessions of a move its signer is revoked: nobody has to come for it to be undone. After READY it is not: the VM may run here. */
static void
test_revoked(void)
{
    for (guint is_decided = 0; is_decided < 2; is_decided++) {
        lab = lab_new();
        GPtrArray *signers = lab->collector->signers, *nobody = g_ptr_array_new();
        LabPeer *peer = lab_begin(lab, 1, 3);
        SamiCollectorMigration *m = migration(1);
        if (is_decided)
            lab_mark(peer, SAMI_MARKER_FREEZE, 3);
        CU_ASSERT_TRUE(!is_decided || lab_receipt(peer, SAMI_RECEIPT_READY));
        lab_close(peer);
        CU_ASSERT_PTR_NULL(m->session);
        lab->collector->signers = nobody;
        sami_collector_policy_review(lab->collector);
        CU_ASSERT_TRUE(is_decided ? m->phase == SAMI_PHASE_READY : lab_wait(lab, is_aborted, m));
        CU_ASSERT_TRUE(is_decided || lab_was_told(lab, "rolling back: fw1.example: the signer has been revoked"));
        CU_ASSERT_EQUAL(lab_count_entries(lab), is_decided ? 3 : 0);
        lab->collector->signers = signers;
        g_ptr_array_unref(nobody);
        lab_free(lab);
    }
}

/* The signer as another reload has it. */
static void
narrow(gboolean is_unscoped, guint n_prefixes)
{
    SamiSigner *signer = g_ptr_array_index(lab->signers, 0);
    ((SamiConfigSigner *) signer->config)->unscoped = is_unscoped;
    g_array_set_size(signer->allow_prefixes, n_prefixes);
    sami_collector_policy_review(lab->collector);
}

/* What is not the signer's any more does not come back by a resumed session. */
static void
test_narrowed_replication(void)
{
    SamiRecord begin = { .kind = SAMI_RECORD_BEGIN, .begin = { 0, 60, SAMI_KIND_SESSION | SAMI_KIND_REPLICATION, "fw2.example" } };
    for (guint is_unscoped = 0; is_unscoped < 2; is_unscoped++) {
        lab = lab_new();
        LabPeer *peer = is_unscoped ? lab_connect(lab, 1, SAMI_OPENING_NEW) : replicate(1, 3);
        if (is_unscoped) {
            lab_add(peer, &begin);
            lab_add_flows(peer, 0, 3, SAMI_ACTION_CREATED, 1);
            lab_mark(peer, SAMI_MARKER_SNAPSHOT, 3);
            CU_ASSERT_PTR_NOT_NULL(lab_receipt(peer, SAMI_RECEIPT_SNAPSHOT));
        }
        narrow(FALSE, is_unscoped ? 1 : 0);
        lab_settle(lab);
        expect_refused(peer, SAMI_REASON_VM_NOT_ALLOWED);
        lab->collector->refused_messages[SAMI_REASON_VM_NOT_ALLOWED] = 0;
        expect_refused(lab_connect(lab, 1, SAMI_OPENING_RESUME), SAMI_REASON_VM_NOT_ALLOWED);
        CU_ASSERT_EQUAL(lab_count_entries(lab), 3); /* what it brought stays */
        lab_free(lab);
    }
}

/* What READY decided stays, and nothing more comes; taken back by the source, it is undone. */
static void
test_narrowed_ready(void)
{
    for (guint is_thawed = 0; is_thawed < 2; is_thawed++) {
        lab = lab_new();
        LabPeer *peer = lab_begin(lab, 1, 3);
        SamiCollectorMigration *m = migration(1);
        lab_mark(peer, SAMI_MARKER_FREEZE, 3);
        CU_ASSERT_PTR_NOT_NULL_FATAL(lab_receipt(peer, SAMI_RECEIPT_READY));
        narrow(TRUE, 0);
        lab_add_flows(peer, 3, 1, SAMI_ACTION_CREATED, 1);
        lab_send(peer);
        lab_settle(lab);
        CU_ASSERT_FALSE(peer->is_closed);
        CU_ASSERT_EQUAL(m->phase, SAMI_PHASE_READY);
        CU_ASSERT_EQUAL(m->apply->refused[SAMI_REASON_ADDRESS_NOT_ALLOWED], 1);
        CU_ASSERT_EQUAL(lab_count_entries(lab), 3);
        if (is_thawed) {
            lab_mark(peer, SAMI_MARKER_THAW, 4);
            lab_settle(lab);
            expect_refused(peer, SAMI_REASON_VM_NOT_ALLOWED);
            CU_ASSERT_TRUE(lab_wait(lab, is_aborted, m));
            CU_ASSERT_EQUAL(lab_count_entries(lab), 0);
        }
        lab_free(lab);
    }
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "a peer comes again", test_again }, { "two sessions, one id", test_one_id },   { "all that a signer may", test_unscoped },
        { "an id that was used", test_closed_id },
        { "a takeover", test_takeover },      { "a signer is revoked", test_revoked },
        { "a replication that may not go on", test_narrowed_replication }, { "READY, and not allowed any more", test_narrowed_ready },
    };
    return sami_test_main("collector peers", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
