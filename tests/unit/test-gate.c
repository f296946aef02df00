/* The nft gate against the kernel, in a network namespace of this process. */
#define _GNU_SOURCE 1 /* unshare */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/collector.h"
#include "firewall/gate.h"
#include "tests/unit/harness.h"

#define EXIT_SKIP 77
#define PLAIN                                                                                      \
    "add table inet f; add set inet f g { type ipv4_addr; flags timeout; }; "                      \
    "add set inet f g6 { type ipv6_addr; flags timeout; }"
#define INTERVALS                                                                                  \
    "add table inet f; add set inet f g { type ipv4_addr; flags interval, timeout; }; "            \
    "add set inet f g6 { type ipv6_addr; flags interval, timeout; }"

/* Output of nft, or NULL if it failed. (transfer full) */
static gchar *
run_nft(const gchar *rules)
{
    const gchar *argv[] = {"nft", rules, NULL};
    g_autofree gchar *output = NULL;
    int status = -1;
    return g_spawn_sync(NULL, (gchar **)argv, NULL,
                        G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &output, NULL,
                        &status, NULL) &&
                   status == 0
               ? g_steal_pointer(&output)
               : NULL;
}

static void
load(const gchar *rules)
{
    g_autofree gchar *flushed = run_nft("flush ruleset");
    g_autofree gchar *loaded = run_nft(rules);
    CU_ASSERT_PTR_NOT_NULL_FATAL(loaded);
}

/* Does nft list a set with this text in it? */
static gboolean
lists(const gchar *set, const gchar *text)
{
    g_autofree gchar *command = g_strdup_printf("list set inet f %s", set);
    g_autofree gchar *output = run_nft(command);
    return output && strstr(output, text);
}

static SamiPrefix
prefix(const gchar *text)
{
    SamiPrefix result = {0};
    g_autoptr(GError) error = NULL;
    sami_prefix_parse(text, &result, &error);
    g_assert_no_error(error);
    return result;
}

static SamiGate *gate; /* made once: it has to stand a reload of the ruleset */

static gboolean
close_gate(const gchar *address, guint timeout_ms)
{
    SamiPrefix one = prefix(address);
    g_autoptr(GError) error = NULL;
    gboolean is_closed = sami_gate_close(gate, &one, 1, timeout_ms, &error);
    if (error)
        g_print("%s ", error->message);
    return is_closed;
}

static gboolean
open_gate(const gchar *address)
{
    SamiPrefix one = prefix(address);
    return sami_gate_open(gate, &one, 1, NULL);
}

static void
test_names(void)
{
    static const gchar *const bad[] = {"",           "inet f",     "inet f g h",
                                       "internet f g", "inet  g", "inet f g\n"};
    for (guint i = 0; i < G_N_ELEMENTS(bad) - 1; i++) {
        g_autoptr(GError) error = NULL;
        CU_ASSERT_PTR_NULL(sami_gate_new(bad[i], &error));
        CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_CONFIG));
    }
    /* A name that nft cannot have made is not refused by its shape, but never found. */
    g_autoptr(SamiGate) strange = sami_gate_new(bad[5], NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(strange);
    CU_ASSERT_FALSE(sami_gate_check(strange, NULL));
}

static void
test_plain(void)
{
    SamiPrefix both[] = {prefix("10.0.0.13"), prefix("2001:db8::13")};
    load(PLAIN);
    CU_ASSERT_TRUE(sami_gate_check(gate, NULL));
    CU_ASSERT_TRUE(sami_gate_close(gate, both, 2, 60000, NULL));
    CU_ASSERT_TRUE(lists("g", "10.0.0.13 timeout 1m"));
    CU_ASSERT_TRUE(lists("g6", "2001:db8::13 timeout 1m"));
    /* Longer and shorter again: the last one counts. */
    CU_ASSERT_TRUE(sami_gate_close(gate, both, 2, 3600000, NULL));
    CU_ASSERT_TRUE(lists("g", "10.0.0.13 timeout 1h"));
    CU_ASSERT_TRUE(sami_gate_close(gate, both, 2, 120000, NULL));
    CU_ASSERT_TRUE(lists("g", "10.0.0.13 timeout 2m"));
    CU_ASSERT_TRUE(close_gate("10.0.0.14", 60000));
    CU_ASSERT_TRUE(sami_gate_open(gate, both, 2, NULL));
    CU_ASSERT_FALSE(lists("g", "10.0.0.13"));
    CU_ASSERT_FALSE(lists("g6", "2001:db8::13"));
    CU_ASSERT_TRUE(lists("g", "10.0.0.14")); /* somebody else's */
    CU_ASSERT_TRUE(sami_gate_open(gate, both, 2, NULL)); /* again: no error */
    CU_ASSERT_FALSE(close_gate("10.0.0.0/24", 1000));    /* no intervals here */
    CU_ASSERT_TRUE(open_gate("10.0.0.0/24"));
}

static void
test_expiry(void)
{
    load(PLAIN);
    CU_ASSERT_TRUE(close_gate("10.0.0.13", 300));
    gint64 end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;
    while (lists("g", "10.0.0.13") && g_get_monotonic_time() < end)
        g_usleep(20000);
    CU_ASSERT_FALSE(lists("g", "10.0.0.13"));
    CU_ASSERT_TRUE(close_gate("10.0.0.13", 60000)); /* an element that has run out is no obstacle */
    CU_ASSERT_TRUE(lists("g", "10.0.0.13"));
}

static void
test_intervals(void)
{
    static const gchar *const prefixes[] = {"10.0.0.13", "10.1.0.0/16", "10.3.255.0/24", "255.255.255.255",
                                            "2001:db8::/64", "fe80::1", "ffff::/16"};
    load(INTERVALS);
    for (guint round = 0; round < 2; round++) /* the second time they are there already */
        for (guint i = 0; i < G_N_ELEMENTS(prefixes); i++) {
            CU_ASSERT_TRUE(close_gate(prefixes[i], 60000u * (round + 1)));
            CU_ASSERT_TRUE(lists(strchr(prefixes[i], ':') ? "g6" : "g", prefixes[i]));
        }
    CU_ASSERT_TRUE(lists("g", "10.1.0.0/16 timeout 2m"));
    for (guint i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        CU_ASSERT_TRUE(open_gate(prefixes[i]));
        CU_ASSERT_FALSE(lists(strchr(prefixes[i], ':') ? "g6" : "g", prefixes[i]));
    }
    CU_ASSERT_FALSE(lists("g", "elements"));
    CU_ASSERT_FALSE(lists("g6", "elements"));
    CU_ASSERT_TRUE(close_gate("0.0.0.0/0", 60000));
    CU_ASSERT_TRUE(lists("g", "0.0.0.0/0"));
    CU_ASSERT_TRUE(open_gate("0.0.0.0/0"));
    CU_ASSERT_FALSE(lists("g", "elements"));
}

/* What is wrong with the ruleset is said, and what can be held is held all the same. */
static void
test_wrong_sets(void)
{
    static const gchar *const rules[] = {
        "add table inet f", /* no set */
        "add table inet f; add set inet f g { type ipv4_addr; }", /* no timeouts */
        "add table inet f; add set inet f g { type inet_service; flags timeout; }",
    };
    SamiPrefix both[] = {prefix("2001:db8::13"), prefix("10.0.0.13")};
    for (guint i = 0; i < G_N_ELEMENTS(rules); i++) {
        g_autoptr(GError) error = NULL;
        load(rules[i]);
        CU_ASSERT_FALSE(sami_gate_close(gate, &both[1], 1, 1000, &error));
        CU_ASSERT_TRUE(error && strstr(error->message, "nft add set inet f g "));
        CU_ASSERT_FALSE(sami_gate_check(gate, NULL));
    }
    g_autoptr(GError) error = NULL;
    load("add table inet f; add set inet f g { type ipv4_addr; flags timeout; }");
    CU_ASSERT_TRUE(sami_gate_check(gate, NULL));
    CU_ASSERT_FALSE(sami_gate_close(gate, both, 2, 60000, &error));
    CU_ASSERT_TRUE(error && strstr(error->message, "2001:db8::13"));
    CU_ASSERT_TRUE(lists("g", "10.0.0.13"));
    CU_ASSERT_TRUE(sami_gate_open(gate, both, 2, NULL));
}

static void
fill_migration(SamiCollectorMigration *m, SamiCollector *collector, const gchar *vm)
{
    SamiPrefix one = prefix(vm);
    *m = (SamiCollectorMigration){.collector = collector, .vm = g_array_new(FALSE, TRUE, sizeof(SamiPrefix))};
    g_array_append_val(m->vm, one);
    g_ptr_array_add(collector->migrations, m);
}

/* Two migrations of one VM: what one of them opens stays closed for the other. And a replication closes nothing. */
static void
test_two_migrations(void)
{
    SamiConfig config = {.gate_from = (gchar *)"snapshot"};
    SamiCollector collector = {.config = &config, .migrations = g_ptr_array_new(), .gate = gate};
    SamiCollectorMigration first, second, third;
    load(PLAIN);
    fill_migration(&first, &collector, "10.0.0.13");
    fill_migration(&second, &collector, "10.0.0.13");
    fill_migration(&third, &collector, "10.0.0.14");
    CU_ASSERT_TRUE(sami_collector_gate_close(&first, 60000, NULL));
    CU_ASSERT_TRUE(sami_collector_gate_close(&second, 60000, NULL));
    CU_ASSERT_TRUE(sami_collector_gate_close(&third, 60000, NULL));
    sami_collector_gate_open(&second);
    CU_ASSERT_TRUE(lists("g", "10.0.0.13"));
    sami_collector_gate_open(&first);
    CU_ASSERT_FALSE(lists("g", "10.0.0.13"));
    CU_ASSERT_TRUE(lists("g", "10.0.0.14"));
    sami_collector_gate_open(&third);
    third.lease_s = 60;
    third.phase = SAMI_PHASE_FOLLOW;
    third.replication = (SamiCollectorReplication *)(void *)&third; /* only that there is one */
    sami_collector_gate_follow(&third);
    CU_ASSERT_FALSE(lists("g", "10.0.0.14"));
    third.replication = NULL;
    sami_collector_gate_follow(&third);
    CU_ASSERT_TRUE(lists("g", "10.0.0.14"));
    g_array_unref(first.vm);
    g_array_unref(second.vm);
    g_array_unref(third.vm);
    g_ptr_array_unref(collector.migrations);
}

int
main(void)
{
    static const SamiTest tests[] = {
        {"names", test_names},         {"single addresses", test_plain}, {"expiry", test_expiry},
        {"intervals", test_intervals}, {"wrong sets", test_wrong_sets},
        {"two migrations", test_two_migrations},
    };
    g_autoptr(GError) error = NULL;
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
        puts("SKIP: needs root and a network namespace of its own");
        return EXIT_SKIP;
    }
    g_autofree gchar *output = run_nft("list ruleset");
    gate = sami_gate_new("inet f g", &error);
    if (!output || !gate) {
        printf("SKIP: nftables cannot be used here%s%s\n", error ? ": " : "", error ? error->message : "");
        return EXIT_SKIP;
    }
    int status = sami_test_main("gate", tests, G_N_ELEMENTS(tests), NULL, NULL);
    sami_gate_free(gate);
    return status;
}
