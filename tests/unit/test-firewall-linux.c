/* The shared cases against the kernel, in a network namespace of this process, and what only a
 * kernel does. */
#define _GNU_SOURCE 1 /* unshare */
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
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

int
main(void)
{
    static const SamiTest own[] = {
        {"answers that are lost", test_lost_answers},
        {"permission", test_permission},
        {"two listeners", test_two_listeners},
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
