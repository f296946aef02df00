#include "firewall/ruleset.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>

#include "firewall/ops.h"

#define RECEIVE_BUFFER (1024 * 1024)
#define REPLY_MAX 65536u
#define LEGACY_IPV4 "/proc/self/net/ip_tables_names"
#define LEGACY_IPV6 "/proc/self/net/ip6_tables_names"
#define TRIES 5u /* somebody loads a ruleset just now */

/* IP_CT_ESTABLISHED of `ct state`: NF_CT_STATE_BIT() of nft_ct.c. */
#define STATE_ESTABLISHED (1u << (IP_CT_ESTABLISHED % IP_CT_IS_REPLY + 1))

typedef struct {
    guint32 family;
    gchar *table, *name;
    gboolean is_forward;      /* a filter base chain at hook forward */
    gboolean is_dropping, has_established;
    gboolean is_open;         /* jumps by a map: where to is not looked up */
    GPtrArray *jumps;         /* names of chains of its table */
    gboolean is_reached;
} Chain;

typedef struct {
    SamiRuleset *ruleset;
    GPtrArray *chains; /* of Chain */
    Chain *last;       /* (nullable) of the last rule: rules come chain by chain */
    int failure;
    gboolean is_done, is_interrupted;
    gboolean (*take)(gpointer reading, const struct nlmsghdr *nlh);
} Reading;

static void
chain_free(gpointer data)
{
    Chain *chain = data;
    g_free(chain->table);
    g_free(chain->name);
    g_ptr_array_unref(chain->jumps);
    g_free(chain);
}

static gboolean
is_chain(const Chain *chain, guint32 family, const gchar *table, const gchar *name)
{
    return chain->family == family && g_strcmp0(chain->table, table) == 0 && g_strcmp0(chain->name, name) == 0;
}

static Chain *
find_chain(const Reading *reading, guint32 family, const gchar *table, const gchar *name)
{
    for (guint i = 0; i < reading->chains->len; i++)
        if (is_chain(g_ptr_array_index(reading->chains, i), family, table, name))
            return g_ptr_array_index(reading->chains, i);
    return NULL;
}

static gboolean
take_chain(gpointer data, const struct nlmsghdr *nlh)
{
    Reading *reading = data;
    struct nftnl_chain *c = nftnl_chain_alloc();
    gboolean is_valid = nftnl_chain_nlmsg_parse(nlh, c) == 0 && nftnl_chain_is_set(c, NFTNL_CHAIN_TABLE) && nftnl_chain_is_set(c, NFTNL_CHAIN_NAME);
    if (is_valid) {
        Chain *chain = g_new0(Chain, 1);
        const gchar *type = nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE);
        guint32 family = nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY);
        gboolean is_base = nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM);
        gboolean is_nat = is_base && g_strcmp0(type, "nat") == 0;
        chain->family = family;
        chain->table = g_strdup(nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE));
        chain->name = g_strdup(nftnl_chain_get_str(c, NFTNL_CHAIN_NAME));
        chain->jumps = g_ptr_array_new_with_free_func(g_free);
        chain->is_forward = is_base && g_strcmp0(type, "filter") == 0 && nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM) == NF_INET_FORWARD &&
                            (family == NFPROTO_INET || family == NFPROTO_IPV4 || family == NFPROTO_IPV6);
        chain->is_dropping = is_base && nftnl_chain_is_set(c, NFTNL_CHAIN_POLICY) && nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY) == NF_DROP;
        /* The first base chain of type nat registers the translation at all four hooks of its family (nf_nat_register_fn()). */
        reading->ruleset->is_ipv4_nat |= is_nat && (family == NFPROTO_INET || family == NFPROTO_IPV4);
        reading->ruleset->is_ipv6_nat |= is_nat && (family == NFPROTO_INET || family == NFPROTO_IPV6);
        g_ptr_array_add(reading->chains, chain);
    }
    nftnl_chain_free(c);
    return is_valid;
}

/* What one rule says, as far as it is looked for here. Registers are not followed: the expressions of one comparison lie one behind the
 * other. */
typedef struct {
    gboolean is_state;       /* the last thing that was loaded is ct state */
    guint32 mask;            /* of the bits that are compared */
    gboolean matches_established;
    gboolean can_accept, can_drop, has_map;
    gboolean has_label;
    const gchar *jump;       /* (nullable) */
} Meaning;

static void
look_at_ct(struct nftnl_expr *e, Meaning *meaning)
{
    guint32 key = nftnl_expr_get_u32(e, NFTNL_EXPR_CT_KEY);
    meaning->has_label |= key == NFT_CT_LABELS; /* the kernel keeps them as long as any rule reads or sets some */
    meaning->is_state = key == NFT_CT_STATE;
    meaning->mask = G_MAXUINT32;
    meaning->matches_established |= key == NFT_CT_STATUS;
}

/* `ct state established` is a mask and a comparison with 0. */
static void
look_at_comparison(struct nftnl_expr *e, Meaning *meaning)
{
    guint32 length = 0, value = 0, op = nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_OP);
    const void *data = nftnl_expr_get(e, NFTNL_EXPR_CMP_DATA, &length);
    if (!meaning->is_state)
        return;
    if (data && length == sizeof value)
        memcpy(&value, data, sizeof value);
    meaning->matches_established |= (op == NFT_CMP_EQ) == ((STATE_ESTABLISHED & meaning->mask) == value);
    meaning->is_state = FALSE;
}

static void
look_at_verdict(struct nftnl_expr *e, Meaning *meaning)
{
    if (!nftnl_expr_is_set(e, NFTNL_EXPR_IMM_VERDICT))
        return;
    gint verdict = (gint)nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_VERDICT);
    meaning->can_drop |= verdict == NF_DROP;
    meaning->can_accept |= verdict == NF_ACCEPT || verdict == NF_QUEUE;
    if (verdict == NFT_JUMP || verdict == NFT_GOTO)
        meaning->jump = nftnl_expr_get_str(e, NFTNL_EXPR_IMM_CHAIN);
}

static int
look_at(struct nftnl_expr *e, void *data)
{
    Meaning *meaning = data;
    const gchar *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
    guint32 length = 0;
    if (g_str_equal(name, "ct")) {
        look_at_ct(e, meaning);
    } else if (g_str_equal(name, "bitwise")) {
        const void *mask = nftnl_expr_get(e, NFTNL_EXPR_BITWISE_MASK, &length);
        if (mask && length == sizeof meaning->mask)
            memcpy(&meaning->mask, mask, sizeof meaning->mask);
    } else if (g_str_equal(name, "cmp")) {
        look_at_comparison(e, meaning);
    } else if (g_str_equal(name, "lookup")) { /* what the set or map has is not read */
        meaning->matches_established |= meaning->is_state;
        meaning->has_map |= nftnl_expr_is_set(e, NFTNL_EXPR_LOOKUP_DREG) && nftnl_expr_get_u32(e, NFTNL_EXPR_LOOKUP_DREG) == NFT_REG_VERDICT;
    } else if (g_str_equal(name, "immediate")) {
        look_at_verdict(e, meaning);
    } else if (g_str_equal(name, "reject")) {
        meaning->can_drop = TRUE;
    } else if (g_str_equal(name, "match")) { /* iptables-nft */
        const gchar *match = nftnl_expr_get_str(e, NFTNL_EXPR_MT_NAME);
        meaning->matches_established |= g_strcmp0(match, "conntrack") == 0 || g_strcmp0(match, "state") == 0;
        meaning->has_label |= g_strcmp0(match, "connlabel") == 0;
    } else if (g_str_equal(name, "target")) {
        meaning->can_drop |= g_strcmp0(nftnl_expr_get_str(e, NFTNL_EXPR_TG_NAME), "REJECT") == 0;
    }
    return 0;
}

static gboolean
take_rule(gpointer data, const struct nlmsghdr *nlh)
{
    Reading *reading = data;
    struct nftnl_rule *rule = nftnl_rule_alloc();
    gboolean is_valid = nftnl_rule_nlmsg_parse(nlh, rule) == 0;
    guint32 family = nftnl_rule_get_u32(rule, NFTNL_RULE_FAMILY);
    const gchar *table = nftnl_rule_get_str(rule, NFTNL_RULE_TABLE), *name = nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN);
    if (!reading->last || !is_chain(reading->last, family, table, name))
        reading->last = find_chain(reading, family, table, name);
    Chain *chain = is_valid ? reading->last : NULL;
    Meaning meaning = {0};
    if (chain) { /* otherwise it came between the two dumps */
        nftnl_expr_foreach(rule, look_at, &meaning);
        reading->ruleset->n_rules++;
        reading->ruleset->has_label_rule |= meaning.has_label;
        chain->is_dropping |= meaning.can_drop;
        chain->has_established |= meaning.matches_established && (meaning.can_accept || meaning.has_map || meaning.jump);
        chain->is_open |= meaning.has_map;
        if (meaning.jump)
            g_ptr_array_add(chain->jumps, g_strdup(meaning.jump));
    }
    nftnl_rule_free(rule);
    return is_valid;
}

static void
take_messages(Reading *reading, const guint8 *buffer, gssize n)
{
    const struct nlmsghdr *nlh = (const void *)buffer;
    for (int left = (int)n; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
        reading->is_interrupted |= (nlh->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
        if (nlh->nlmsg_type == NLMSG_DONE)
            reading->is_done = TRUE;
        else if (nlh->nlmsg_type == NLMSG_ERROR)
            reading->failure = sami_linux_errno(nlh);
        else if (!reading->take(reading, nlh))
            reading->failure = EBADMSG;
    }
}

/* The kernel fills the next part while this one is taken, so each is there when it is asked for. Returns an errno. */
static int
dump(Reading *reading, struct mnl_socket *socket, guint16 type, guint8 *buffer)
{
    struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr((char *)buffer, type, NFPROTO_UNSPEC, NLM_F_DUMP, 1);
    reading->is_done = FALSE;
    if (mnl_socket_sendto(socket, nlh, nlh->nlmsg_len) < 0)
        return errno;
    while (!reading->is_done && reading->failure == 0) {
        gssize n = mnl_socket_recvfrom(socket, buffer, REPLY_MAX);
        if (n < 0 && errno != EINTR)
            return errno == EAGAIN ? EPROTO : errno;
        if (n > 0)
            take_messages(reading, buffer, n);
    }
    return reading->failure;
}

static void
reach(const Reading *reading, Chain *chain, SamiRulesetTable *table)
{
    if (!chain || chain->is_reached)
        return;
    chain->is_reached = TRUE;
    table->is_dropping |= chain->is_dropping;
    table->has_established |= chain->has_established;
    for (guint i = 0; i < chain->jumps->len; i++)
        reach(reading, find_chain(reading, chain->family, chain->table, g_ptr_array_index(chain->jumps, i)), table);
    for (guint i = 0; chain->is_open && i < reading->chains->len; i++) {
        Chain *other = g_ptr_array_index(reading->chains, i);
        if (other->family == chain->family && g_str_equal(other->table, chain->table) && !other->is_forward)
            reach(reading, other, table);
    }
}

/* Each table for itself: a packet that one accepts can still be dropped by another. */
static void
sum_up(Reading *reading)
{
    for (guint i = 0; i < reading->chains->len; i++) {
        Chain *chain = g_ptr_array_index(reading->chains, i);
        SamiRulesetTable table = {0};
        if (!chain->is_forward || chain->is_reached)
            continue;
        table.name = g_strdup_printf("%s %s", chain->family == NFPROTO_INET ? "inet" : chain->family == NFPROTO_IPV4 ? "ip" : "ip6", chain->table);
        table.is_ipv4 = chain->family != NFPROTO_IPV6;
        table.is_ipv6 = chain->family != NFPROTO_IPV4;
        for (guint k = i; k < reading->chains->len; k++) {
            Chain *other = g_ptr_array_index(reading->chains, k);
            if (other->is_forward && other->family == chain->family && g_str_equal(other->table, chain->table))
                reach(reading, other, &table);
        }
        g_array_append_val(reading->ruleset->tables, table);
    }
}

static void
table_clear(gpointer data)
{
    g_free(((SamiRulesetTable *)data)->name);
}

static SamiRuleset *
ruleset_new(void)
{
    SamiRuleset *ruleset = g_new0(SamiRuleset, 1);
    ruleset->tables = g_array_new(FALSE, TRUE, sizeof(SamiRulesetTable));
    g_array_set_clear_func(ruleset->tables, table_clear);
    return ruleset;
}

void
sami_ruleset_free(SamiRuleset *ruleset)
{
    if (!ruleset)
        return;
    g_array_unref(ruleset->tables);
    g_free(ruleset);
}

/* Its table nat registers the same hooks as soon as it is there. */
static gboolean
has_legacy_nat(const gchar *path)
{
    g_autofree gchar *text = NULL;
    g_auto(GStrv) names = g_file_get_contents(path, &text, NULL, NULL) ? g_strsplit(text, "\n", -1) : NULL;
    return names && g_strv_contains((const gchar *const *)names, "nat");
}

static SamiRuleset *
read_ruleset(gboolean with_rules, GError **error)
{
    g_autofree guint8 *buffer = g_malloc(REPLY_MAX);
    int failure = EINTR;
    for (guint i = 0; i < TRIES && failure == EINTR; i++) {
        struct mnl_socket *socket = sami_linux_socket(0, RECEIVE_BUFFER, error);
        g_autoptr(SamiRuleset) ruleset = ruleset_new();
        g_autoptr(GPtrArray) chains = g_ptr_array_new_with_free_func(chain_free);
        Reading reading = {.ruleset = ruleset, .chains = chains, .take = take_chain};
        if (!socket)
            return NULL;
        failure = dump(&reading, socket, NFT_MSG_GETCHAIN, buffer);
        reading.take = take_rule;
        if (failure == 0 && with_rules)
            failure = dump(&reading, socket, NFT_MSG_GETRULE, buffer);
        mnl_socket_close(socket);
        if (failure == 0 && reading.is_interrupted)
            failure = EINTR;
        if (failure == 0) {
            sum_up(&reading);
            return g_steal_pointer(&ruleset);
        }
    }
    g_set_error(error, SAMI_ERROR, failure == EPERM ? SAMI_ERROR_PERMISSION : SAMI_ERROR_KERNEL, "nftables ruleset: %s", g_strerror(failure));
    return NULL;
}

SamiRuleset *
sami_ruleset_read(GError **error)
{
    SamiRuleset *ruleset = read_ruleset(TRUE, error);
    if (ruleset) {
        ruleset->is_ipv4_nat |= has_legacy_nat(LEGACY_IPV4);
        ruleset->is_ipv6_nat |= has_legacy_nat(LEGACY_IPV6);
    }
    return ruleset;
}

gboolean
sami_ruleset_translations(SamiTranslations *ret, GError **error)
{
    gboolean is_ipv4_legacy = has_legacy_nat(LEGACY_IPV4), is_ipv6_legacy = has_legacy_nat(LEGACY_IPV6);
    g_autoptr(SamiRuleset) ruleset = read_ruleset(FALSE, is_ipv4_legacy || is_ipv6_legacy ? NULL : error); /* a kernel may have one of them only */
    if (!ruleset && !is_ipv4_legacy && !is_ipv6_legacy)
        return FALSE;
    *ret = (SamiTranslations){.is_known = TRUE, .is_ipv4 = is_ipv4_legacy || (ruleset && ruleset->is_ipv4_nat),
                              .is_ipv6 = is_ipv6_legacy || (ruleset && ruleset->is_ipv6_nat)};
    return TRUE;
}
