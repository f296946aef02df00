/* What of a host decides whether moved sessions live on: judged from facts that are made up, and read from a kernel in a namespace of this process. */
#define _GNU_SOURCE 1 /* unshare */
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exporter/exporter.h"
#include "firewall/host.h"
#include "templates/finding.h"
#include "tests/unit/harness.h"

#define EXIT_SKIP 77

static SamiFirewall *firewall;

/* --- judging --- */

typedef struct {
    SamiHostFacts facts;
    SamiRuleset ruleset;
    SamiHostNeeds needs;
    GString *told; /* "id severity subject count\n" of each finding */
} Fixture;

static void
on_finding(const SamiFinding *finding, gpointer user_data)
{
    Fixture *f = user_data;
    g_autofree gchar *text = g_strndup(finding->text, sizeof finding->text), *fix = g_strndup(finding->fix, sizeof finding->fix);
    g_string_append_printf(f->told, "%s %s %s %" G_GUINT64_FORMAT "\n", finding->id, sami_severity_name(finding->severity), finding->subject,
                           finding->count);
    CU_ASSERT_TRUE(*text && strlen(text) < sizeof finding->text - 1); /* nothing is cut */
    CU_ASSERT_TRUE(strlen(fix) < sizeof finding->fix - 1);
    CU_ASSERT_PTR_NULL(strstr(text, "%s"));
    CU_ASSERT_PTR_NULL(strstr(fix, "%s"));
}

static void
fixture_init(Fixture *f)
{
    static const gint64 good[SAMI_N_SYSCTLS] = {[SAMI_SYSCTL_EVENTS] = 1, [SAMI_SYSCTL_TIMESTAMP] = 1, [SAMI_SYSCTL_ACCT] = 1};
    *f = (Fixture){.told = g_string_new(NULL)};
    memcpy(f->facts.sysctls, good, sizeof good);
    f->ruleset = (SamiRuleset){.is_ipv4_nat = TRUE, .is_ipv6_nat = TRUE, .has_label_rule = TRUE};
    f->ruleset.tables = g_array_new(FALSE, TRUE, sizeof(SamiRulesetTable));
    f->facts.ruleset = &f->ruleset;
    f->facts.addresses = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    f->facts.n_buckets = 1024;
    sami_host_needs_init(&f->needs);
    f->needs.room = 100;
}

static void
fixture_clear(Fixture *f)
{
    g_array_unref(f->ruleset.tables);
    g_array_unref(f->facts.addresses);
    sami_host_needs_clear(&f->needs);
    g_string_free(f->told, TRUE);
}

static void
expect(Fixture *f, SamiHostRole role, const gchar *told)
{
    g_string_truncate(f->told, 0);
    sami_host_judge(&f->facts, &f->needs, role, on_finding, f);
    CU_ASSERT_STRING_EQUAL(f->told->str, told);
    if (strcmp(f->told->str, told) != 0)
        fprintf(stderr, "\ntold: %s\nnot:  %s\n", f->told->str, told);
}

static SamiSession
session(const gchar *source, const gchar *destination)
{
    SamiSession s = {.has = SAMI_HAS_REPLY | SAMI_HAS_TIMEOUT, .timeout_s = 100};
    SamiPrefix prefix;
    sami_prefix_parse(source, &prefix, NULL);
    s.key = (SamiFlowKey){.orig = {.src = prefix.address, .src_port = 1000, .dst_port = 443}, .family = prefix.family, .protocol = IPPROTO_TCP};
    sami_prefix_parse(destination, &prefix, NULL);
    s.key.orig.dst = prefix.address;
    sami_flow_key_mirror(&s.key, &s.reply);
    return s;
}

static void
set_snat(SamiSession *s, const gchar *address)
{
    SamiPrefix prefix;
    sami_prefix_parse(address, &prefix, NULL);
    s->reply.dst = prefix.address;
}

static void
test_nothing_wrong(void)
{
    Fixture f;
    SamiSession s = session("10.0.0.13", "198.51.100.1");
    fixture_init(&f);
    sami_host_needs_add(&f.needs, &s);
    expect(&f, SAMI_HOST_SOURCE, "");
    expect(&f, SAMI_HOST_DESTINATION, "");
    fixture_clear(&f);
}

static void
test_settings(void)
{
    Fixture f;
    fixture_init(&f);
    memset(f.facts.sysctls, 0, sizeof f.facts.sysctls);
    expect(&f, SAMI_HOST_SOURCE, "sysctl-events warning 0 0\nsysctl-timestamp warning 0 0\nsysctl-acct note 0 0\n");
    expect(&f, SAMI_HOST_DESTINATION, "sysctl-events note 0 0\nsysctl-timestamp warning 0 0\nsysctl-acct warning 0 0\n");
    for (guint i = 0; i < SAMI_N_SYSCTLS; i++)
        f.facts.sysctls[i] = i == SAMI_SYSCTL_EVENTS ? 2 : i == SAMI_SYSCTL_TIMESTAMP ? -1 : 1;
    expect(&f, SAMI_HOST_DESTINATION,
           "sysctl-events note 2 0\nsysctl-timestamp warning not there 0\nsysctl-tcp-loose note 1 0\nsysctl-tcp-be-liberal note 1 0\n");
    fixture_clear(&f);
}

static void
test_translation(void)
{
    Fixture f;
    SamiSession a = session("10.0.0.13", "198.51.100.1"), b = session("2001:db8::13", "2001:db8:1::1"), c = session("10.0.0.13", "198.51.100.2");
    SamiPrefix own;
    set_snat(&a, "192.0.2.1");
    set_snat(&b, "2001:db8:f::1");
    c.reply.dst_port = 7; /* a port only: its address is the VM's own */
    fixture_init(&f);
    sami_host_needs_add(&f.needs, &a);
    sami_host_needs_add(&f.needs, &a);
    sami_host_needs_add(&f.needs, &b);
    sami_host_needs_add(&f.needs, &c);
    expect(&f, SAMI_HOST_DESTINATION, "nat-address warning 192.0.2.1 2\nnat-address warning 2001:db8:f::1 1\n");
    sami_prefix_parse("192.0.2.1", &own, NULL);
    g_array_append_val(f.facts.addresses, own);
    f.ruleset.is_ipv4_nat = f.ruleset.is_ipv6_nat = FALSE;
    expect(&f, SAMI_HOST_DESTINATION, "nat-chain loss ip 3\nnat-chain loss ip6 1\nnat-address warning 2001:db8:f::1 1\n");
    f.facts.ruleset = NULL;
    f.facts.ruleset_error = (gchar *)"why";
    expect(&f, SAMI_HOST_DESTINATION, "ruleset-unknown note why 0\nnat-address warning 2001:db8:f::1 1\n");
    fixture_clear(&f);
}

static void
test_table(void)
{
    Fixture f;
    fixture_init(&f);
    f.needs.n_new = 103;
    expect(&f, SAMI_HOST_DESTINATION, "table-room loss 100 3\n");
    f.needs.room = 1000;
    f.facts.n_entries = 4 * 1024 - 104;
    expect(&f, SAMI_HOST_DESTINATION, "");
    f.facts.n_entries++;
    expect(&f, SAMI_HOST_DESTINATION, "few-buckets warning 1024 0\n");
    f.facts.n_buckets = -1;
    expect(&f, SAMI_HOST_DESTINATION, "");
    fixture_clear(&f);
}

static void
test_daemon(void)
{
    Fixture f;
    fixture_init(&f);
    f.facts.daemon.is_key_log_on = TRUE;
    expect(&f, SAMI_HOST_SOURCE, "key-log-on warning  0\n");
    expect(&f, SAMI_HOST_DESTINATION, "key-log-on warning  0\n");
    f.facts.daemon = (SamiHostDaemon){.is_sandbox_off = TRUE};
    expect(&f, SAMI_HOST_SOURCE, "sandbox-off warning  0\n");
    f.facts.daemon = (SamiHostDaemon){.is_network_root = TRUE};
    expect(&f, SAMI_HOST_SOURCE, "network-root warning  0\n");
    expect(&f, SAMI_HOST_DESTINATION, "network-root warning  0\n");
    f.facts.daemon = (SamiHostDaemon){.is_sandbox_partial = TRUE};
    expect(&f, SAMI_HOST_DESTINATION, "sandbox-partial note  0\n");
    fixture_clear(&f);
}

static void
test_established(void)
{
    Fixture f;
    SamiRulesetTable table = {.name = (gchar *)"ip6 filter", .is_ipv6 = TRUE, .is_dropping = TRUE};
    SamiSession s = session("10.0.0.13", "198.51.100.1");
    fixture_init(&f);
    g_array_append_val(f.ruleset.tables, table);
    sami_host_needs_add(&f.needs, &s);
    expect(&f, SAMI_HOST_DESTINATION, ""); /* nobody speaks IPv6 */
    s = session("2001:db8::13", "2001:db8:1::1");
    sami_host_needs_add(&f.needs, &s);
    expect(&f, SAMI_HOST_DESTINATION, "established-rule warning ip6 filter 1\n");
    fixture_clear(&f);
}

static void
test_attributes(void)
{
    Fixture f;
    SamiSession plain = session("10.0.0.13", "198.51.100.1"), labels = plain, helper = plain, gre = plain, offloaded = plain;
    labels.has |= SAMI_HAS_LABELS;
    helper.has |= SAMI_HAS_HELPER | SAMI_HAS_LABELS;
    g_strlcpy(helper.helper, "nosuch", sizeof helper.helper);
    gre.key.protocol = IPPROTO_GRE;
    offloaded.status = SAMI_IPS_OFFLOAD;
    fixture_init(&f);
    f.ruleset.has_label_rule = FALSE;
    sami_host_needs_add(&f.needs, &labels);
    sami_host_needs_add(&f.needs, &helper);
    CU_ASSERT_EQUAL_FATAL(f.needs.helpers->len, 1);
    g_array_index(f.needs.helpers, SamiHostHelper, 0).is_missing = TRUE;
    expect(&f, SAMI_HOST_DESTINATION, "label-rule warning  2\nhelper warning nosuch 1\n");
    CU_ASSERT_EQUAL(sami_host_degrades(&f.facts, &f.needs, &plain, 0), SAMI_REASON_NONE);
    CU_ASSERT_EQUAL(sami_host_degrades(&f.facts, &f.needs, &plain, SAMI_HAS_HELPER), SAMI_REASON_NO_HELPER);
    CU_ASSERT_EQUAL(sami_host_degrades(&f.facts, &f.needs, &plain, SAMI_HAS_MARK), SAMI_REASON_MARK_CUT);
    CU_ASSERT_EQUAL(sami_host_degrades(&f.facts, &f.needs, &plain, SAMI_HAS_TIMEOUT), SAMI_REASON_TIMEOUT_CUT);
    CU_ASSERT_EQUAL(sami_host_degrades(&f.facts, &f.needs, &labels, SAMI_HAS_LABELS), SAMI_REASON_LABELS_CUT);
    CU_ASSERT_EQUAL(sami_host_degrades(&f.facts, &f.needs, &helper, 0), SAMI_REASON_NO_HELPER);
    CU_ASSERT_EQUAL(sami_host_degrades(&f.facts, &f.needs, &labels, 0), SAMI_REASON_LABELS_LOST);
    CU_ASSERT_EQUAL(sami_host_degrades(&f.facts, &f.needs, &gre, 0), SAMI_REASON_GRE_KEYMAP);
    CU_ASSERT_EQUAL(sami_host_degrades(&f.facts, &f.needs, &offloaded, 0), SAMI_REASON_OFFLOADED);
    f.ruleset.has_label_rule = TRUE;
    g_array_index(f.needs.helpers, SamiHostHelper, 0).is_missing = FALSE;
    CU_ASSERT_EQUAL(sami_host_degrades(&f.facts, &f.needs, &helper, 0), SAMI_REASON_NONE);
    fixture_clear(&f);
}

static void
test_ids(void)
{
    for (guint i = 0; sami_host_check_id(i); i++) {
        CU_ASSERT_TRUE(strlen(sami_host_check_id(i)) < sizeof ((SamiFinding *)NULL)->id);
        for (guint k = 0; k < i; k++)
            CU_ASSERT_STRING_NOT_EQUAL(sami_host_check_id(i), sami_host_check_id(k));
    }
}

static void
test_json(void)
{
    SamiFinding finding;
    memset(&finding, 'x', sizeof finding); /* no field has an end */
    finding.severity = 77;
    finding.text[0] = '\033';
    g_autoptr(JsonObject) object = sami_finding_to_json(&finding, "fw2.example", "destination");
    CU_ASSERT_EQUAL(strlen(json_object_get_string_member(object, "id")), sizeof finding.id);
    CU_ASSERT_TRUE(g_str_has_prefix(json_object_get_string_member(object, "text"), "\\033x"));
    CU_ASSERT_STRING_EQUAL(json_object_get_string_member(object, "severity"), "unknown");
    CU_ASSERT_EQUAL(sami_exit_of_severity(0), SAMI_EXIT_DONE);
    CU_ASSERT_EQUAL(sami_exit_of_severity(SAMI_SEVERITY_NOTE), SAMI_EXIT_DONE);
    CU_ASSERT_EQUAL(sami_exit_of_severity(SAMI_SEVERITY_WARNING), SAMI_EXIT_WARNINGS);
    CU_ASSERT_EQUAL(sami_exit_of_severity(SAMI_SEVERITY_LOSS), SAMI_EXIT_LOSS);
}

static void
test_skew(void)
{
    CU_ASSERT_EQUAL(sami_dry_run_skew(100, 101, 100), 0);
    CU_ASSERT_EQUAL(sami_dry_run_skew(100, 101, 101), 0);
    CU_ASSERT_EQUAL(sami_dry_run_skew(100, 101, 107), 6);
    CU_ASSERT_EQUAL(sami_dry_run_skew(100, 101, 90), -10);
}

/* --- reading --- */

static gboolean
run_nft(const gchar *rules)
{
    const gchar *argv[] = {"nft", rules, NULL};
    int status = -1;
    return g_spawn_sync(NULL, (gchar **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL, &status, NULL) && status == 0;
}

/* Base chains of table inet f that drop, are established, in that order; and label rule, NAT of IPv4, NAT of IPv6. */
static const struct {
    const gchar *rules, *expected;
} rulesets[] = {
    {"", ""},
    {"add table inet f; add chain inet f c { type filter hook forward priority 0; policy accept; }", "inet f: "},
    {"add table inet f; add chain inet f c { type filter hook forward priority 0; policy drop; }", "inet f: drops "},
    {"add table inet f; add chain inet f c { type filter hook input priority 0; policy drop; }", ""},
    {"add table ip f; add chain ip f c { type filter hook forward priority 0; }; add rule ip f c tcp dport 1 drop", "ip f: drops "},
    {"add table ip6 f; add chain ip6 f c { type filter hook forward priority 0; }; add rule ip6 f c reject", "ip6 f: drops "},
    {"add table inet f; add chain inet f c { type filter hook forward priority 0; policy drop; }; add rule inet f c ct state established,related accept",
     "inet f: drops established "},
    {"add table inet f; add chain inet f c { type filter hook forward priority 0; policy drop; }; add rule inet f c ct state new accept", "inet f: drops "},
    {"add table inet f; add chain inet f c { type filter hook forward priority 0; policy drop; }; add rule inet f c ct state invalid drop", "inet f: drops "},
    {"add table inet f; add chain inet f c { type filter hook forward priority 0; policy drop; }; add rule inet f c ct state != invalid accept",
     "inet f: drops established "},
    {"add table inet f; add chain inet f c { type filter hook forward priority 0; policy drop; }; "
     "add rule inet f c ct state vmap { established : accept, invalid : drop }",
     "inet f: drops established "},
    {"add table inet f; add chain inet f c { type filter hook forward priority 0; policy drop; }; add rule inet f c ct state { established, related } accept",
     "inet f: drops established "},
    {"add table inet f; add chain inet f c { type filter hook forward priority 0; policy drop; }; add rule inet f c ct status assured accept",
     "inet f: drops established "},
    /* By a jump; and in a chain that nothing of hook forward reaches. */
    {"add table inet f; add chain inet f d; add rule inet f d ct state established accept; "
     "add chain inet f c { type filter hook forward priority 0; policy drop; }; add rule inet f c jump d",
     "inet f: drops established "},
    {"add table inet f; add chain inet f d; add rule inet f d ct state established accept; "
     "add chain inet f c { type filter hook forward priority 0; policy drop; }",
     "inet f: drops "},
    {"add table inet f; add chain inet f d; add rule inet f d ct state established accept; "
     "add chain inet f c { type filter hook forward priority 0; policy drop; }; add rule inet f c meta iifname vmap { \"lo\" : jump d }",
     "inet f: drops established "},
    {"add table inet f; add chain inet f d; add rule inet f d ct label set 3", "labels "},
    {"add table inet f; add chain inet f d; add rule inet f d ct label 3 accept", "labels "},
    {"add table ip n; add chain ip n c { type nat hook prerouting priority -100; }", "nat4 "},
    {"add table ip6 n; add chain ip6 n c { type nat hook postrouting priority 100; }", "nat6 "},
    {"add table inet n; add chain inet n c { type nat hook postrouting priority 100; }", "nat4 nat6 "},
};

static void
test_rulesets(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(rulesets); i++) {
        g_autoptr(GString) text = g_string_new(NULL);
        g_autoptr(GError) error = NULL;
        CU_ASSERT_TRUE_FATAL(run_nft("flush ruleset") && (!*rulesets[i].rules || run_nft(rulesets[i].rules)));
        g_autoptr(SamiRuleset) ruleset = sami_ruleset_read(&error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(ruleset);
        for (guint k = 0; k < ruleset->tables->len; k++) {
            const SamiRulesetTable *table = &g_array_index(ruleset->tables, SamiRulesetTable, k);
            g_string_append_printf(text, "%s: %s%s", table->name, table->is_dropping ? "drops " : "", table->has_established ? "established " : "");
        }
        g_string_append_printf(text, "%s%s%s", ruleset->has_label_rule ? "labels " : "", ruleset->is_ipv4_nat ? "nat4 " : "",
                               ruleset->is_ipv6_nat ? "nat6 " : "");
        CU_ASSERT_STRING_EQUAL(text->str, rulesets[i].expected);
        if (strcmp(text->str, rulesets[i].expected) != 0)
            fprintf(stderr, "\n%s\nread: %s\nnot:  %s\n", rulesets[i].rules, text->str, rulesets[i].expected);
    }
    run_nft("flush ruleset");
}

/* More rules than fit into one part of a dump. */
static void
test_large_ruleset(void)
{
    g_autoptr(GString) rules = g_string_new("add table inet f; add chain inet f c { type filter hook forward priority 0; policy drop; }");
    for (guint i = 1; i <= 3000; i++)
        g_string_append_printf(rules, "; add rule inet f c tcp dport %u accept", i);
    CU_ASSERT_TRUE_FATAL(run_nft(rules->str) && run_nft("add rule inet f c ct state established accept"));
    g_autoptr(SamiRuleset) ruleset = sami_ruleset_read(NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(ruleset);
    CU_ASSERT_EQUAL(ruleset->n_rules, 3001);
    CU_ASSERT_TRUE(g_array_index(ruleset->tables, SamiRulesetTable, 0).has_established);
    run_nft("flush ruleset");
}

/* What there is, what there is not, and that nobody can tell that it was asked. */
static void
test_helpers(void)
{
    guint64 before = 0, after = 0, max = 0;
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiFirewallEvents) events = sami_firewall_events_new(firewall, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(events);
    sami_firewall_headroom(firewall, &before, &max, NULL);
    gint has_ftp = sami_host_has_helper("ftp", 4, IPPROTO_TCP);
    CU_ASSERT_TRUE(has_ftp == 0 || has_ftp == 1); /* by the kernel's configuration */
    CU_ASSERT_EQUAL(sami_host_has_helper("ftp", 6, IPPROTO_TCP), has_ftp);
    CU_ASSERT_EQUAL(sami_host_has_helper("ftp", 4, IPPROTO_UDP), 0);
    CU_ASSERT_EQUAL(sami_host_has_helper("nosuch", 4, IPPROTO_TCP), 0);
    CU_ASSERT_EQUAL(sami_host_has_helper("a-name-that-is-too-long", 4, IPPROTO_TCP), -1);
    sami_firewall_headroom(firewall, &after, &max, NULL);
    CU_ASSERT_EQUAL(before, after);
    CU_ASSERT_EQUAL(before, 0);
}

static void
on_event(SamiEventKind kind, const SamiSession *s, gpointer user_data)
{
    (void)kind, (void)s;
    ++*(guint *)user_data;
}

static void
test_no_trace(void)
{
    const SamiHostDaemon about = { 0 };
    guint n_events = 0;
    g_autoptr(SamiFirewallEvents) events = sami_firewall_events_new(firewall, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(events);
    for (guint i = 0; i < 10; i++) {
        g_autoptr(SamiHostFacts) facts = sami_host_read(firewall, &about);
        CU_ASSERT_PTR_NOT_NULL(facts->ruleset);
        CU_ASSERT_TRUE(facts->n_buckets > 0 && facts->n_max > 0 && facts->sysctls[SAMI_SYSCTL_EVENTS] >= 0);
        sami_host_has_helper("ftp", 4, IPPROTO_TCP);
    }
    CU_ASSERT_TRUE(sami_firewall_events_barrier(events, on_event, &n_events, NULL));
    CU_ASSERT_EQUAL(n_events, 0);
}

static void
test_addresses(void)
{
    g_autoptr(GArray) list = sami_host_addresses(NULL);
    SamiPrefix loopback;
    sami_prefix_parse("127.0.0.1", &loopback, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(list);
    CU_ASSERT_TRUE(sami_prefixes_contain((const SamiPrefix *)(const void *)list->data, list->len, 4, &loopback.address));
}

static gboolean
is_ours(const GArray *list, const gchar *address)
{
    SamiPrefix prefix;
    CU_ASSERT_TRUE(sami_prefix_parse(address, &prefix, NULL));
    return sami_prefixes_contain((const SamiPrefix *)(const void *)list->data, list->len, prefix.family, &prefix.address);
}

/* What others of the network have too: packets to these are for us, and never for a VM. */
static void
test_shared_addresses(void)
{
    static const gchar *const ours[] = { "10.9.0.1", "10.9.0.255", "10.8.0.1", "10.8.0.77", "2001:db8:9::1", "2001:db8:9::", "203.0.113.7" };
    static const gchar *const others[] = { "10.9.0.2", "10.9.0.254", "10.7.0.3", "2001:db8:9::2", "2001:db8:7::", "198.51.100.0", "198.51.100.255" };
    CU_ASSERT_EQUAL_FATAL(system("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding && ip link add d0 type veth peer name d1 && ip link set d0 up && ip link set d1 up && ip addr add 10.9.0.1/24 dev d0 &&"
                                 "ip addr add 10.8.0.1/24 broadcast 10.8.0.77 dev d0 && ip addr add 10.7.0.2/31 dev d0 && ip addr add 2001:db8:9::1/64 dev d0 nodad &&"
                                 "ip addr add 203.0.113.7/32 dev d0 && ip addr add 2001:db8:7::1/127 dev d0 nodad && ip route add 198.51.100.0/24 dev d0"), 0);
    g_autoptr(GArray) list = sami_host_addresses(NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(list);
    for (guint i = 0; i < G_N_ELEMENTS(ours); i++)
        CU_ASSERT_TRUE(is_ours(list, ours[i]));
    for (guint i = 0; i < G_N_ELEMENTS(others); i++)
        CU_ASSERT_FALSE(is_ours(list, others[i]));
    CU_ASSERT_EQUAL(system("ip link del d0"), 0);
}

int
main(void)
{
    static const SamiTest tests[] = {
        {"nothing wrong", test_nothing_wrong}, {"settings", test_settings},       {"translation", test_translation},
        {"table", test_table},                 {"established", test_established}, {"attributes", test_attributes}, {"daemon", test_daemon},
        {"ids", test_ids},                     {"json", test_json},               {"skew", test_skew},
        {"rulesets", test_rulesets},           {"large ruleset", test_large_ruleset}, {"helpers", test_helpers},
        {"no trace", test_no_trace},           {"addresses", test_addresses},       {"shared addresses", test_shared_addresses},
    };
    g_autoptr(GError) error = NULL;
    if (unshare(CLONE_NEWNET) != 0 || !run_nft("flush ruleset") || system("ip link set lo up") != 0 || !(firewall = sami_firewall_linux_new(&error))) {
        printf("SKIP: needs root, network namespaces, nft and ip%s%s\n", error ? ": " : "", error ? error->message : "");
        return EXIT_SKIP;
    }
    int result = sami_test_main("host", tests, G_N_ELEMENTS(tests), NULL, NULL);
    sami_firewall_free(firewall);
    return result;
}
