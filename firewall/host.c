#include "firewall/host.h"

#include <netinet/in.h>
#include <string.h>

#include "templates/finding.h"

/* Entries a bucket, both directions of each, from which on chains grow noticeably. The kernel refuses an entry at 50 to 80
 * (MIN_CHAINLEN of nf_conntrack_core.c, Linux 6.18). */
#define PER_BUCKET 8u

/* --- what sessions need --- */

void
sami_host_needs_init(SamiHostNeeds *needs)
{
    *needs = (SamiHostNeeds){.nat_addresses = g_array_new(FALSE, TRUE, sizeof(SamiHostAddress)),
                             .helpers = g_array_new(FALSE, TRUE, sizeof(SamiHostHelper))};
}

void
sami_host_needs_clear(SamiHostNeeds *needs)
{
    g_clear_pointer(&needs->nat_addresses, g_array_unref);
    g_clear_pointer(&needs->helpers, g_array_unref);
}

static void
count_address(SamiHostNeeds *needs, guint8 family, const SamiAddress *address)
{
    SamiHostAddress one = {.address = {.address = *address, .family = family, .length = family == 4 ? 32 : 128}, .n = 1};
    for (guint i = 0; i < needs->nat_addresses->len; i++) {
        SamiHostAddress *known = &g_array_index(needs->nat_addresses, SamiHostAddress, i);
        if (known->address.family == family && memcmp(&known->address.address, address, sizeof *address) == 0) {
            known->n++;
            return;
        }
    }
    if (needs->nat_addresses->len < SAMI_HOST_LIST_MAX)
        g_array_append_val(needs->nat_addresses, one);
}

/* One row an attribute: does a session have it, and what does that need? */
static void
need_nat(SamiHostNeeds *needs, const SamiSession *s)
{
    guint8 family = s->key.family;
    if (!sami_session_has_snat(s) && !sami_session_has_dnat(s))
        return;
    needs->n_nat[family == 6]++;
    /* A port alone may be translated, and then the address is an end of the flow. */
    if (memcmp(&s->reply.dst, &s->key.orig.src, sizeof s->reply.dst) != 0)
        count_address(needs, family, &s->reply.dst);
    if (memcmp(&s->reply.src, &s->key.orig.dst, sizeof s->reply.src) != 0)
        count_address(needs, family, &s->key.orig.dst);
}

static void
need_labels(SamiHostNeeds *needs, const SamiSession *s)
{
    needs->n_labels += (s->has & SAMI_HAS_LABELS) != 0;
}

static SamiHostHelper *
find_helper(const SamiHostNeeds *needs, const SamiSession *s)
{
    for (guint i = 0; i < needs->helpers->len; i++) {
        SamiHostHelper *known = &g_array_index(needs->helpers, SamiHostHelper, i);
        if (known->family == s->key.family && known->protocol == s->key.protocol && strncmp(known->name, s->helper, sizeof known->name) == 0)
            return known;
    }
    return NULL;
}

static void
need_helper(SamiHostNeeds *needs, const SamiSession *s)
{
    SamiHostHelper *known = (s->has & SAMI_HAS_HELPER) ? find_helper(needs, s) : NULL, one = {.family = s->key.family, .protocol = s->key.protocol, .n = 1};
    if (known)
        known->n++;
    if (known || !(s->has & SAMI_HAS_HELPER) || needs->helpers->len >= SAMI_HOST_LIST_MAX)
        return;
    g_strlcpy(one.name, s->helper, sizeof one.name);
    one.is_missing = needs->is_probing && sami_host_has_helper(one.name, one.family, one.protocol) == 0;
    g_array_append_val(needs->helpers, one);
}

static SamiReason
lose_helper(const SamiHostFacts *facts, const SamiHostNeeds *needs, const SamiSession *s, guint32 stripped)
{
    const SamiHostHelper *known = (s->has & SAMI_HAS_HELPER) ? find_helper(needs, s) : NULL;
    (void)facts;
    return (stripped & SAMI_HAS_HELPER) || (known && known->is_missing) ? SAMI_REASON_NO_HELPER : SAMI_REASON_NONE;
}

static SamiReason
lose_gre(const SamiHostFacts *facts, const SamiHostNeeds *needs, const SamiSession *s, guint32 stripped)
{
    (void)facts, (void)needs, (void)stripped;
    return s->key.protocol != IPPROTO_GRE ? SAMI_REASON_NONE : s->key.orig.src_port ? SAMI_REASON_GRE_KEYMAP : SAMI_REASON_GRE_TIMEOUT;
}

static SamiReason
lose_offload(const SamiHostFacts *facts, const SamiHostNeeds *needs, const SamiSession *s, guint32 stripped)
{
    (void)facts, (void)needs, (void)stripped;
    return (s->status & SAMI_IPS_OFFLOAD) ? SAMI_REASON_OFFLOADED : SAMI_REASON_NONE;
}

static SamiReason
lose_time(const SamiHostFacts *facts, const SamiHostNeeds *needs, const SamiSession *s, guint32 stripped)
{
    (void)facts, (void)needs, (void)s;
    return (stripped & SAMI_HAS_TIMEOUT) ? SAMI_REASON_TIMEOUT_CUT : SAMI_REASON_NONE;
}

static SamiReason
lose_mark(const SamiHostFacts *facts, const SamiHostNeeds *needs, const SamiSession *s, guint32 stripped)
{
    (void)facts, (void)needs, (void)s;
    return (stripped & SAMI_HAS_MARK) ? SAMI_REASON_MARK_CUT : SAMI_REASON_NONE;
}

static SamiReason
lose_labels(const SamiHostFacts *facts, const SamiHostNeeds *needs, const SamiSession *s, guint32 stripped)
{
    (void)needs;
    if (stripped & SAMI_HAS_LABELS)
        return SAMI_REASON_LABELS_CUT;
    return (s->has & SAMI_HAS_LABELS) && facts->ruleset && !facts->ruleset->has_label_rule ? SAMI_REASON_LABELS_LOST : SAMI_REASON_NONE;
}

static const struct {
    void (*need)(SamiHostNeeds *needs, const SamiSession *s);
    /* (nullable) what the read-back would find missing; the rows are in its order */
    SamiReason (*lose)(const SamiHostFacts *facts, const SamiHostNeeds *needs, const SamiSession *s, guint32 stripped);
} attributes[] = {
    {need_helper, lose_helper},
    {NULL, lose_gre},
    {NULL, lose_offload},
    {NULL, lose_mark},
    {NULL, lose_time},
    {need_labels, lose_labels},
    {need_nat, NULL}, /* without a nat base chain the entry is as it should be, and its packets are not translated */
};

void
sami_host_needs_add(SamiHostNeeds *needs, const SamiSession *s)
{
    needs->n[s->key.family == 6]++;
    for (guint i = 0; i < G_N_ELEMENTS(attributes); i++)
        if (attributes[i].need)
            attributes[i].need(needs, s);
}

SamiReason
sami_host_degrades(const SamiHostFacts *facts, const SamiHostNeeds *needs, const SamiSession *s, guint32 stripped)
{
    SamiReason reason = SAMI_REASON_NONE;
    for (guint i = 0; i < G_N_ELEMENTS(attributes) && reason == SAMI_REASON_NONE; i++)
        if (attributes[i].lose)
            reason = attributes[i].lose(facts, needs, s, stripped);
    return reason;
}

/* --- findings --- */

typedef struct Check Check;

typedef struct {
    const SamiHostFacts *facts;
    const SamiHostNeeds *needs;
    const Check *check;
    guint8 severity;
    SamiFindingFunc func;
    gpointer user_data;
} Look;

struct Check {
    const gchar *id;
    guint8 severity[SAMI_N_HOST_ROLES]; /* 0: not looked at in this role */
    void (*look)(Look *look);           /* calls found() for each thing that is wrong */
    SamiHostSysctl sysctl;              /* of look_at_sysctl: … */
    gint64 wanted;                      /* … and what it should be. Of look_at_daemon: where in SamiHostDaemon */
    const gchar *text;                  /* what is wrong, and what follows from it; %s is the subject */
    const gchar *fix;
};

static void
found(const Look *look, const gchar *subject, guint64 count)
{
    const Check *check = look->check;
    SamiFinding finding;
    sami_finding_fill(&finding, check->id, look->severity, subject, count, check->text, check->fix);
    look->func(&finding, look->user_data);
}

static void
look_at_sysctl(Look *look)
{
    gint64 value = look->facts->sysctls[look->check->sysctl];
    g_autofree gchar *subject = value < 0 ? g_strdup("not there") : g_strdup_printf("%" G_GINT64_FORMAT, value);
    if (value != look->check->wanted)
        found(look, subject, 0);
}

static void
look_at_ruleset(Look *look)
{
    if (!look->facts->ruleset)
        found(look, look->facts->ruleset_error ? look->facts->ruleset_error : "unknown", 0);
}

static void
look_at_nat_chains(Look *look)
{
    const SamiRuleset *ruleset = look->facts->ruleset;
    if (ruleset && look->needs->n_nat[0] > 0 && !ruleset->is_ipv4_nat)
        found(look, "ip", look->needs->n_nat[0]);
    if (ruleset && look->needs->n_nat[1] > 0 && !ruleset->is_ipv6_nat)
        found(look, "ip6", look->needs->n_nat[1]);
}

static void
look_at_labels(Look *look)
{
    if (look->facts->ruleset && look->needs->n_labels > 0 && !look->facts->ruleset->has_label_rule)
        found(look, "", look->needs->n_labels);
}

static void
look_at_established(Look *look)
{
    const SamiRuleset *ruleset = look->facts->ruleset;
    for (guint i = 0; ruleset && i < ruleset->tables->len; i++) {
        const SamiRulesetTable *table = &g_array_index(ruleset->tables, SamiRulesetTable, i);
        guint64 n = (table->is_ipv4 ? look->needs->n[0] : 0) + (table->is_ipv6 ? look->needs->n[1] : 0);
        if (n > 0 && table->is_dropping && !table->has_established)
            found(look, table->name, n);
    }
}

static void
look_at_room(Look *look)
{
    g_autofree gchar *subject = g_strdup_printf("%" G_GUINT64_FORMAT, look->needs->room);
    if (look->needs->n_new > look->needs->room)
        found(look, subject, look->needs->n_new - look->needs->room);
}

static void
look_at_buckets(Look *look)
{
    gint64 n = look->facts->n_buckets;
    g_autofree gchar *subject = g_strdup_printf("%" G_GINT64_FORMAT, n);
    if (n > 0 && 2 * (look->facts->n_entries + look->needs->n_new) / (guint64)n >= PER_BUCKET)
        found(look, subject, 0);
}

static void
look_at_nat_addresses(Look *look)
{
    for (guint i = 0; i < look->needs->nat_addresses->len; i++) {
        const SamiHostAddress *one = &g_array_index(look->needs->nat_addresses, SamiHostAddress, i);
        g_autofree gchar *subject = sami_prefix_to_string(&one->address);
        if (look->facts->addresses && !sami_prefixes_contain((const SamiPrefix *)(const void *)look->facts->addresses->data,
                                                             look->facts->addresses->len, one->address.family, &one->address.address))
            found(look, subject, one->n);
    }
}

static void
look_at_helpers(Look *look)
{
    for (guint i = 0; i < look->needs->helpers->len; i++) {
        const SamiHostHelper *one = &g_array_index(look->needs->helpers, SamiHostHelper, i);
        if (one->is_missing)
            found(look, one->name, one->n);
    }
}

static void
look_at_daemon(Look *look)
{
    if (G_STRUCT_MEMBER(gboolean, &look->facts->daemon, look->check->wanted))
        found(look, "", 0);
}

#define NOTE SAMI_SEVERITY_NOTE
#define WARNING SAMI_SEVERITY_WARNING
#define LOSS SAMI_SEVERITY_LOSS

static const Check checks[] = {
    {"sysctl-events", {WARNING, NOTE}, look_at_sysctl, SAMI_SYSCTL_EVENTS, 1,
     "nf_conntrack_events is %s, not 1: entries made while nobody listens send no events, so each freeze reads the whole table",
     "sysctl -w net.netfilter.nf_conntrack_events=1"},
    {"sysctl-timestamp", {WARNING, WARNING}, look_at_sysctl, SAMI_SYSCTL_TIMESTAMP, 1,
     "nf_conntrack_timestamp is %s, not 1: no rollback or clean-up can prove whose an entry is",
     "sysctl -w net.netfilter.nf_conntrack_timestamp=1"},
    {"sysctl-acct", {NOTE, WARNING}, look_at_sysctl, SAMI_SYSCTL_ACCT, 1,
     "nf_conntrack_acct is %s, not 1: nobody sees whether packets came, so window tracking of moved flows stays lenient",
     "sysctl -w net.netfilter.nf_conntrack_acct=1"},
    {"sysctl-tcp-loose", {0, NOTE}, look_at_sysctl, SAMI_SYSCTL_TCP_LOOSE, 0,
     "nf_conntrack_tcp_loose is %s: a packet that comes before its session makes one without windows, which is then merged and stays lenient",
     "sysctl -w net.netfilter.nf_conntrack_tcp_loose=0"},
    {"sysctl-tcp-be-liberal", {0, NOTE}, look_at_sysctl, SAMI_SYSCTL_TCP_BE_LIBERAL, 0,
     "nf_conntrack_tcp_be_liberal is %s: no window is checked, neither of moved flows nor of others",
     "sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=0"},
    {"ruleset-unknown", {0, NOTE}, look_at_ruleset, 0, 0, "the nftables ruleset cannot be read (%s): nothing is known of its rules", ""},
    {"established-rule", {0, WARNING}, look_at_established, 0, 0,
     "no rule for established traffic found in nftables, and %s drops: they may be dropped (rules of iptables-legacy are not seen)",
     "nft insert rule %s CHAIN ct state established,related accept"},
    {"nat-chain", {0, LOSS}, look_at_nat_chains, 0, 0,
     "no base chain of type nat for %s: translated sessions are refused, as the kernel would take them and not translate their packets",
     "nft 'add table %s sami_nat; add chain %s sami_nat post { type nat hook postrouting priority srcnat; }'"},
    {"nat-address", {0, WARNING}, look_at_nat_addresses, 0, 0,
     "translated address %s is on no interface: they break unless it moves too",
     "ip address add %s dev DEVICE    (when the VM moves)"},
    {"label-rule", {0, WARNING}, look_at_labels, 0, 0,
     "no rule that uses labels found in nftables: the kernel drops their labels without a word",
     "nft 'add table inet sami_labels; add chain inet sami_labels keep; add rule inet sami_labels keep ct label set 127'"},
    {"helper", {0, WARNING}, look_at_helpers, 0, 0,
     "helper %s is not there: they go on without it, and no further related connection is let through",
     "modprobe nf_conntrack_%s"},
    {"table-room", {0, LOSS}, look_at_room, 0, 0,
     "more than the %s entries that may be created now (max-sessions, or half of what is free in the table)",
     "raise net.netfilter.nf_conntrack_max, or max-sessions in sami.conf and signers.d"},
    {"few-buckets", {0, WARNING}, look_at_buckets, 0, 0,
     "the table has %s buckets, few for its entries: look-ups take long, and at 50 entries a bucket new ones are refused",
     "sysctl -w net.netfilter.nf_conntrack_buckets=N    (outside of network namespaces)"},
    {"key-log-on", {WARNING, WARNING}, look_at_daemon, 0, G_STRUCT_OFFSET(SamiHostDaemon, is_key_log_on),
     "key-log is set: the secrets of its TLS sessions are written to a file, and who has that can read all that they carry",
     "take key-log out of sami.conf, start the daemon again, and remove the file"},
    {"sandbox-off", {WARNING, WARNING}, look_at_daemon, 0, G_STRUCT_OFFSET(SamiHostDaemon, is_sandbox_off),
     "sandbox = off: who breaks into a process of its daemon may make every system call and open every file that its user may",
     "take sandbox out of sami.conf, and start the daemon again"},
    {"network-root", {WARNING, WARNING}, look_at_daemon, 0, G_STRUCT_OFFSET(SamiHostDaemon, is_network_root),
     "user is empty: the network process of its daemon is root, if without capabilities, to files and to the control sockets too",
     "name a user in sami.conf that nobody else works as, and start the daemon again"},
    {"sandbox-partial", {NOTE, NOTE}, look_at_daemon, 0, G_STRUCT_OFFSET(SamiHostDaemon, is_sandbox_partial),
     "its kernel, or its build, cannot do all of the sandbox around the processes of its daemon; the log of its start says what is missing",
     ""},
};

void
sami_host_judge(const SamiHostFacts *facts, const SamiHostNeeds *needs, SamiHostRole role, SamiFindingFunc func, gpointer user_data)
{
    Look look = {.facts = facts, .needs = needs, .func = func, .user_data = user_data};
    for (guint i = 0; i < G_N_ELEMENTS(checks); i++) {
        look.check = &checks[i];
        look.severity = checks[i].severity[role];
        if (look.severity > 0)
            checks[i].look(&look);
    }
}

const gchar *
sami_host_check_id(guint i)
{
    return i < G_N_ELEMENTS(checks) ? checks[i].id : NULL;
}
