/* The shared cases against the kernel, in a network namespace of this process, and what only a
 * kernel does. */
#define _GNU_SOURCE 1 /* unshare */
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "firewall/attributes.h"
#include "firewall/ops.h"
#include "tests/unit/test-firewall.h"

#define EXIT_SKIP 77

static gboolean has_nat, has_labels; /* written once, before the tests */

static gboolean
run_nft(const gchar *rules)
{
    const gchar *argv[] = {"nft", rules, NULL};
    int status = -1;
    return g_spawn_sync(NULL, (gchar **)argv, NULL,
                        G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL,
                        &status, NULL) &&
           status == 0;
}

static gboolean
write_sysctl(const gchar *name, const gchar *value)
{
    g_autofree gchar *path = g_strconcat("/proc/sys/net/netfilter/", name, NULL);
    FILE *f = fopen(path, "w");
    gboolean is_written = f && fputs(value, f) >= 0;
    return f && fclose(f) == 0 && is_written;
}

static void
collect_session(const SamiSession *session, gpointer user_data)
{
    g_array_append_val((GArray *)user_data, *session);
}

static void
empty(SamiFirewall *firewall)
{
    g_autoptr(GArray) sessions = g_array_new(FALSE, FALSE, sizeof(SamiSession));
    g_autoptr(SamiFirewallDump) dump = sami_firewall_dump_new(firewall, &(SamiDumpFilter){0}, NULL);
    while (sami_firewall_dump_next(dump, collect_session, sessions, NULL) == SAMI_DUMP_MORE)
        ;
    for (guint i = 0; i < sessions->len; i++)
        test_apply(firewall, SAMI_OP_DELETE, &g_array_index(sessions, SamiSession, i));
}

SamiFirewall *
backend_new(void)
{
    g_autoptr(GError) error = NULL;
    SamiFirewall *firewall = sami_firewall_linux_new(&error);
    g_assert_no_error(error);
    empty(firewall);
    return firewall;
}

SamiFirewall *
backend_share(SamiFirewall *firewall)
{
    return sami_firewall_linux_new(NULL);
}

gboolean
backend_has_nat(void)
{
    return has_nat;
}

gboolean
backend_has_labels(void)
{
    return has_labels;
}

#define N_LOST 200u

/* With room for a few errors only, results come from looking: what was there is EEXIST, what is new
 * is 0. */
static void
test_lost_answers(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    g_autoptr(GError) error = NULL;
    SamiSession sessions[N_LOST], found[N_LOST];
    SamiFlowKey keys[N_LOST];
    gboolean is_found[N_LOST];
    SamiOp ops[N_LOST];
    guint n_wrong = 0;
    for (guint i = 0; i < N_LOST; i++) {
        sessions[i] = test_session(IPPROTO_UDP, "10.0.0.1", (guint16)(i + 1), "10.9.0.1", 53);
        keys[i] = sessions[i].key;
        ops[i] = (SamiOp){SAMI_OP_CREATE, &sessions[i], -1};
        if (i % 4 != 0)
            CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &sessions[i]), 0);
    }
    sami_linux_set_receive_buffer(firewall, 1);
    CU_ASSERT_TRUE(sami_firewall_apply(firewall, ops, N_LOST, &error));
    for (guint i = 0; i < N_LOST; i++)
        n_wrong += ops[i].result != (i % 4 != 0 ? EEXIST : 0);
    CU_ASSERT_EQUAL(n_wrong, 0);
    CU_ASSERT_TRUE(sami_firewall_get(firewall, keys, N_LOST, found, is_found,
                                     &error)); /* answers are lost here too */
    for (guint i = n_wrong = 0; i < N_LOST; i++) {
        n_wrong += !is_found[i] || !sami_flow_key_equal(&found[i].key, &keys[i]);
        ops[i].kind = SAMI_OP_DELETE;
    }
    CU_ASSERT_EQUAL(n_wrong, 0);
    for (guint i = 0; i < N_LOST; i += 2)
        ops[i].kind = SAMI_OP_UPDATE_TIMEOUT;
    CU_ASSERT_TRUE(sami_firewall_apply(firewall, ops, N_LOST, &error));
    for (guint i = n_wrong = 0; i < N_LOST; i++)
        n_wrong += ops[i].result != 0;
    CU_ASSERT_EQUAL(n_wrong, 0);
    g_autoptr(GArray) left = test_dump(firewall, &(SamiDumpFilter){0}, NULL);
    CU_ASSERT_EQUAL(left->len, N_LOST / 2);
    CU_ASSERT_PTR_NULL(error);
}

/* Every user may open the socket; who may not use it learns so at once. */
static void
test_permission(void)
{
    g_autoptr(GError) error = NULL;
    CU_ASSERT_EQUAL(seteuid(65534), 0);
    g_autoptr(SamiFirewall) firewall = sami_firewall_linux_new(&error);
    CU_ASSERT_EQUAL(seteuid(0), 0);
    CU_ASSERT_PTR_NULL(firewall);
    CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_PERMISSION));
}

static void
ignore_event(SamiEventKind kind, const SamiSession *session, gpointer user_data)
{
    ++*(guint *)user_data;
}

/* Two handles of events at once; each leaves out its own only. */
static void
test_two_listeners(void)
{
    g_autoptr(SamiFirewall) a = backend_new();
    g_autoptr(SamiFirewall) b = backend_share(a);
    g_autoptr(SamiFirewallEvents) of_a = sami_firewall_events_new(a, NULL);
    g_autoptr(SamiFirewallEvents) of_b = sami_firewall_events_new(b, NULL);
    guint n_a = 0, n_b = 0;
    for (guint16 i = 1; i <= 1000; i++) {
        SamiSession s = test_session(IPPROTO_UDP, "10.0.0.1", i, "10.9.0.1", 53);
        CU_ASSERT_EQUAL(test_apply(i <= 300 ? a : b, SAMI_OP_CREATE, &s), 0);
    }
    CU_ASSERT_TRUE(sami_firewall_events_barrier(of_a, ignore_event, &n_a, NULL));
    CU_ASSERT_TRUE(sami_firewall_events_barrier(of_b, ignore_event, &n_b, NULL));
    CU_ASSERT_EQUAL(n_a, 700);
    CU_ASSERT_EQUAL(n_b, 300);
}

/* What is set on creation only, and every protocol that has a state of its own. */
static void
test_rare_attributes(void)
{
    static const struct {
        guint8 protocol;
        guint16 src_port, dst_port;
        guint32 has;
    } rows[] = {
        {IPPROTO_TCP, 40000, 21, SAMI_HAS_TCP | SAMI_HAS_HELPER},
        {IPPROTO_TCP, 40001, 80, SAMI_HAS_TCP | SAMI_HAS_SEQADJ | SAMI_HAS_SYNPROXY},
        {IPPROTO_TCP, 40002, 80, SAMI_HAS_TCP | SAMI_HAS_MASTER},
        {IPPROTO_SCTP, 40003, 80, SAMI_HAS_SCTP},
        {IPPROTO_GRE, 0x1234, 0x5678, 0},
        {IPPROTO_UDPLITE, 40004, 80, 0},
        {IPPROTO_UDP, 40005, 80, SAMI_HAS_REPLY_ZONE},
        {89, 0, 0, 0},
    };
    g_autoptr(SamiFirewall) firewall = backend_new();
    SamiFlowKey first = {.family = 4};
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        SamiSession s = {.key = {.family = 4, .protocol = rows[i].protocol, .orig = {.src_port = rows[i].src_port, .dst_port = rows[i].dst_port}},
                         .has = rows[i].has | SAMI_HAS_REPLY | SAMI_HAS_TIMEOUT, .timeout_s = 60, .tcp_state = SAMI_TCP_STATE_ESTABLISHED,
                         .sctp_state = 4, .sctp_vtag = {0x12345678, 0x9abcdef0}, .seqadj = {{1000, -5, 7}, {2000, 3, -4}}, .synproxy_isn = 1,
                         .synproxy_its = 2, .synproxy_tsoff = 3, .helper = "ftp", .reply_zone = 9, .master = first};
        SamiSession found = {0};
        memcpy(s.key.orig.src.octets, (guint8[4]){10, 0, 0, 1}, 4);
        memcpy(s.key.orig.dst.octets, (guint8[4]){10, 9, 0, 1}, 4);
        sami_flow_key_mirror(&s.key, &s.reply);
        CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &s), 0);
        CU_ASSERT_TRUE(test_get(firewall, &s.key, &found));
        CU_ASSERT_EQUAL(found.has & rows[i].has, rows[i].has);
        CU_ASSERT_TRUE(sami_session_same_fixed(&s, &found, 0));
        CU_ASSERT_EQUAL(memcmp(&s.reply, &found.reply, sizeof s.reply), 0);
        if (rows[i].has & SAMI_HAS_SCTP)
            CU_ASSERT_TRUE(found.sctp_state == 4 && found.sctp_vtag[0] == 0x12345678 && found.sctp_vtag[1] == 0x9abcdef0);
        if (i == 0)
            first = s.key;
    }
    empty(firewall);
}

/* Timeout and the bit that fixes it, in one update; what comes later changes neither. */
static void
test_fixed_timeout(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    SamiSession s = {.key = {.family = 4, .protocol = IPPROTO_UDP, .orig = {.src_port = 1, .dst_port = 2}},
                     .has = SAMI_HAS_REPLY | SAMI_HAS_TIMEOUT | SAMI_HAS_STATUS, .status = SAMI_IPS_SEEN_REPLY | SAMI_IPS_CONFIRMED, .timeout_s = 60};
    SamiSession found = {0};
    sami_flow_key_mirror(&s.key, &s.reply);
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &s), 0);
    s.timeout_s = 500;
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_UPDATE_FIXED, &s), 0);
    CU_ASSERT_TRUE(test_get(firewall, &s.key, &found));
    CU_ASSERT_TRUE((found.status & SAMI_IPS_FIXED_TIMEOUT) && found.timeout_s > 490);
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_UPDATE_TIMEOUT, &s), EPERM);
    empty(firewall);
}

int
main(void)
{
    static const SamiTest own[] = {
        {"answers that are lost", test_lost_answers},
        {"permission", test_permission},
        {"two listeners", test_two_listeners},
        {"attributes that are set on creation only", test_rare_attributes},
        {"fixed timeout", test_fixed_timeout},
    };
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
        fprintf(stderr, "SKIP: a network namespace of its own needs root\n");
        return EXIT_SKIP;
    }
    if (!write_sysctl("nf_conntrack_events", "1") || !write_sysctl("nf_conntrack_timestamp", "1") ||
        !write_sysctl("nf_conntrack_acct", "1")) {
        fprintf(stderr, "SKIP: net.netfilter.nf_conntrack_{events,timestamp,acct} cannot be set\n");
        return EXIT_SKIP;
    }
    has_nat = run_nft(
        "add table ip sami; add chain ip sami nat { type nat hook postrouting priority 100; };"
        "add table ip6 sami; add chain ip6 sami nat { type nat hook postrouting priority 100; }");
    has_labels = run_nft(
        "add table inet sami; add chain inet sami labels { type filter hook forward priority 0; };"
        "add rule inet sami labels ct label set 127");
    return test_firewall_main("firewall: linux", own, G_N_ELEMENTS(own));
}
