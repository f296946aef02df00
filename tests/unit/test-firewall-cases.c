/* What every implementation of firewall/firewall.h has to do: linked with one backend each. */
#include "tests/unit/test-firewall.h"

#include "firewall/expect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define MANY 10000u
#define ESTABLISHED (SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED | SAMI_IPS_CONFIRMED)

SamiAddress
test_address(const gchar *text)
{
    SamiAddress address = { { 0 } };
    g_assert_cmpint(inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, address.octets), ==, 1);
    return address;
}

SamiSession
test_session(guint8 protocol, const gchar *src, guint16 sport, const gchar *dst, guint16 dport)
{
    SamiSession s = { .action = SAMI_ACTION_CREATED };
    s.key.orig = (SamiTuple){ test_address(src), test_address(dst), sport, dport };
    s.key.family = strchr(src, ':') ? 6 : 4;
    s.key.protocol = protocol;
    g_assert_true(sami_flow_key_mirror(&s.key, &s.reply));
    s.has = SAMI_HAS_REPLY | SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT;
    s.status = ESTABLISHED;
    s.timeout_s = 1000;
    if (protocol != IPPROTO_TCP)
        return s;
    s.has |= SAMI_HAS_TCP | SAMI_HAS_WSCALE;
    s.tcp_state = SAMI_TCP_STATE_ESTABLISHED;
    /* 0x20 and 0x80: as dumped, must not be set */
    s.tcp_flags[0] = SAMI_TCP_FLAG_WINDOW_SCALE | SAMI_TCP_FLAG_SACK_PERM | 0x20;
    s.tcp_flags[1] = SAMI_TCP_FLAG_WINDOW_SCALE | 0x80;
    s.tcp_wscale[0] = 7;
    s.tcp_wscale[1] = 14;
    return s;
}

int
test_apply(SamiFirewall *firewall, SamiOpKind kind, const SamiSession *session)
{
    g_autoptr(GError) error = NULL;
    SamiOp op = { .kind = kind, .session = session, .result = -1 };
    CU_ASSERT_TRUE(sami_firewall_apply(firewall, &op, 1, &error));
    CU_ASSERT_PTR_NULL(error);
    return op.result;
}

gboolean
test_get(SamiFirewall *firewall, const SamiFlowKey *key, SamiSession *ret)
{
    g_autoptr(GError) error = NULL;
    gboolean is_found = FALSE;
    CU_ASSERT_TRUE(sami_firewall_get(firewall, key, 1, ret, &is_found, &error));
    CU_ASSERT_PTR_NULL(error);
    return is_found;
}

static void
collect(const SamiSession *session, gpointer user_data)
{
    g_array_append_val((GArray *) user_data, session->key);
}

GArray *
test_dump(SamiFirewall *firewall, const SamiDumpFilter *filter, guint64 *ret_not_vm_end)
{
    GArray *keys = g_array_new(FALSE, FALSE, sizeof(SamiFlowKey));
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiFirewallDump) dump = sami_firewall_dump_new(firewall, filter, &error);
    SamiDumpStatus status = dump ? SAMI_DUMP_MORE : SAMI_DUMP_BAD;
    while (status == SAMI_DUMP_MORE) {
        struct pollfd pollfd = { sami_firewall_dump_fd(dump), POLLIN, 0 };
        if (poll(&pollfd, 1, 5000) != 1)
            break;
        status = sami_firewall_dump_next(dump, collect, keys, &error);
    }
    CU_ASSERT_EQUAL(status, SAMI_DUMP_END);
    CU_ASSERT_PTR_NULL(error);
    if (ret_not_vm_end && dump)
        *ret_not_vm_end = sami_firewall_dump_not_vm_end(dump);
    return keys;
}

static guint
count(const GArray *keys, const SamiFlowKey *key)
{
    guint n = 0;
    for (guint i = 0; i < keys->len; i++)
        n += sami_flow_key_equal(&g_array_index(keys, SamiFlowKey, i), key);
    return n;
}

/* A line of a table of flows. A reply address that is NULL is untranslated; so is a port of 0. */
typedef struct {
    guint8 protocol;
    const gchar *src, *dst;
    guint16 sport, dport;
    const gchar *reply_src, *reply_dst;
    guint16 reply_sport, reply_dport;
    guint16 zone;
    guint32 mark;
} Flow;

static SamiSession
make(const Flow *f)
{
    SamiSession s = test_session(f->protocol, f->src, f->sport, f->dst, f->dport);
    if (f->reply_src)
        s.reply.src = test_address(f->reply_src);
    if (f->reply_dst)
        s.reply.dst = test_address(f->reply_dst);
    if (f->reply_sport)
        s.reply.src_port = f->reply_sport;
    if (f->reply_dport)
        s.reply.dst_port = f->reply_dport;
    s.key.zone = f->zone;
    s.mark = f->mark;
    s.has |= f->mark ? SAMI_HAS_MARK : 0;
    return s;
}

static gboolean
is_translated(const SamiSession *s)
{
    return sami_session_has_snat(s) || sami_session_has_dnat(s);
}

#define ECHO4 (8 << 8)
#define ECHO6 (128 << 8)
#define STAMP4 (13 << 8)
#define PUBLIC "192.0.2.1"
#define PUBLIC6 "2001:db8::1"

/* clang-format off */
static const Flow flows[] = {
    { IPPROTO_TCP, "10.0.0.1", "10.9.0.1", 40000, 443 },
    { IPPROTO_UDP, "10.0.0.1", "10.9.0.1", 40000, 53 },
    { IPPROTO_ICMP, "10.0.0.1", "10.9.0.1", 77, ECHO4 },
    { IPPROTO_ICMP, "10.0.0.1", "10.9.0.1", 78, STAMP4 },
    { IPPROTO_TCP, "fd00::1", "fd09::1", 40000, 443 },
    { IPPROTO_UDP, "fd00::1", "fd09::1", 40000, 53 },
    { IPPROTO_ICMPV6, "fd00::1", "fd09::1", 77, ECHO6 },
    { IPPROTO_SCTP, "10.0.0.1", "10.9.0.1", 40000, 36412 },
    { IPPROTO_ESP, "10.0.0.1", "10.9.0.1", 0, 0 },
    { IPPROTO_TCP, "10.0.0.1", "10.9.0.1", 40000, 443, .zone = 7 },
    { IPPROTO_TCP, "10.0.0.1", "10.9.0.1", 40001, 443, .mark = 0xdeadbeef },
    { IPPROTO_TCP, "fd00::1", "fd09::1", 40001, 443, .zone = 65535, .mark = 1 },
};

static const Flow nat_flows[] = {
    { IPPROTO_TCP, "10.0.0.2", "10.9.0.1", 40000, 443, .reply_dst = PUBLIC },
    { IPPROTO_TCP, "10.0.0.2", "10.9.0.1", 40001, 443, .reply_dst = PUBLIC, .reply_dport = 61000 },
    { IPPROTO_TCP, "10.0.0.2", "10.9.0.1", 40002, 443, .reply_dport = 61001 },
    { IPPROTO_TCP, "10.9.0.1", PUBLIC, 40000, 443, .reply_src = "10.0.0.2" },
    { IPPROTO_UDP, "10.9.0.1", PUBLIC, 40000, 443, .reply_src = "10.0.0.2", .reply_sport = 8443 },
    { IPPROTO_TCP, "10.9.0.1", PUBLIC, 40001, 443, "10.0.0.2", "10.0.0.254", 8443, 61011 },
    { IPPROTO_ICMP, "10.0.0.2", "10.9.0.1", 90, ECHO4, .reply_dst = PUBLIC },
    { IPPROTO_ICMP, "10.0.0.2", "10.9.0.1", 91, ECHO4, .reply_dst = PUBLIC, .reply_sport = 555 },
    { IPPROTO_ICMP, "10.9.0.1", PUBLIC, 92, ECHO4, .reply_src = "10.0.0.2" },
    { IPPROTO_ICMP, "10.9.0.1", PUBLIC, 93, ECHO4, "10.0.0.2", "10.0.0.254", 556 },
    { IPPROTO_ESP, "10.0.0.2", "10.9.0.1", 0, 0, .reply_dst = PUBLIC },
    { IPPROTO_TCP, "fd00::2", "fd09::1", 40000, 443, .reply_dst = PUBLIC6, .reply_dport = 61000 },
    { IPPROTO_TCP, "fd09::1", PUBLIC6, 40000, 443, .reply_src = "fd00::2", .reply_sport = 8443 },
    { IPPROTO_UDP, "fd09::1", PUBLIC6, 40000, 443, "fd00::2", "fd00::fe", 8443, 61011 },
    { IPPROTO_ICMPV6, "fd00::2", "fd09::1", 94, ECHO6, .reply_dst = PUBLIC6, .reply_sport = 557 },
    { IPPROTO_TCP, "10.0.0.2", "10.9.0.1", 40000, 443, .reply_dst = PUBLIC, .zone = 9 },
};
/* clang-format on */

static void
check_tcp(const SamiSession *sent, const SamiSession *found)
{
    CU_ASSERT_EQUAL(found->tcp_state, sent->tcp_state);
    for (guint d = 0; d < 2; d++) {
        CU_ASSERT_EQUAL(found->tcp_flags[d],
                        (sent->tcp_flags[d] & 0x07) | SAMI_TCP_FLAG_BE_LIBERAL);
        CU_ASSERT_EQUAL(found->tcp_wscale[d], sent->tcp_wscale[d]);
    }
}

/* What was read is what was written, less what is not to be written. */
static void
check_read_back(const SamiSession *sent, const SamiSession *found)
{
    const guint32 groups = SAMI_HAS_MARK | SAMI_HAS_TCP | SAMI_HAS_WSCALE;
    const guint32 given = SAMI_HAS_ID | SAMI_HAS_START | SAMI_HAS_COUNTERS;
    const guint32 refused = SAMI_IPS_EXPECTED | SAMI_IPS_DYING | SAMI_IPS_FIXED_TIMEOUT;
    guint32 nat = (sami_session_has_snat(sent) ? SAMI_IPS_SRC_NAT : 0) |
                  (sami_session_has_dnat(sent) ? SAMI_IPS_DST_NAT : 0);
    CU_ASSERT_TRUE(sami_flow_key_equal(&sent->key, &found->key));
    CU_ASSERT_EQUAL(memcmp(&sent->reply, &found->reply, sizeof sent->reply), 0);
    CU_ASSERT_EQUAL(found->status & (ESTABLISHED | refused), ESTABLISHED);
    CU_ASSERT_EQUAL(found->status & (SAMI_IPS_SRC_NAT | SAMI_IPS_DST_NAT), nat);
    CU_ASSERT_EQUAL(found->status & 0x180u, nat ? 0x180u : 0); /* IPS_NAT_DONE_MASK */
    CU_ASSERT_TRUE(found->timeout_s <= sent->timeout_s && found->timeout_s + 3 >= sent->timeout_s);
    CU_ASSERT_EQUAL(found->mark, sent->mark);
    CU_ASSERT_EQUAL(found->has & groups, sent->has & groups);
    CU_ASSERT_EQUAL(found->has & given, given);
    CU_ASSERT_EQUAL(found->packets[0] + found->packets[1], 0);
    CU_ASSERT_EQUAL(found->octets[0] + found->octets[1], 0);
    if (sent->has & SAMI_HAS_TCP)
        check_tcp(sent, found);
}

static void
check_deletion(SamiFirewall *firewall, const SamiSession *s, SamiSession *found)
{
    SamiSession other = *s, none;
    other.key.zone ^= 3;
    CU_ASSERT_FALSE(test_get(firewall, &other.key, &none));
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_DELETE, &other), ENOENT);
    found->flow_id ^= 1;
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_DELETE, found), ENOENT);
    found->flow_id ^= 1;
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_DELETE, found), 0);
    CU_ASSERT_FALSE(test_get(firewall, &s->key, &none));
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_DELETE, s), ENOENT);
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_UPDATE_FULL, s), ENOENT);
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_UPDATE_TIMEOUT, s), ENOENT);
}

static void
check_life(SamiFirewall *firewall, const Flow *flow)
{
    SamiSession s = make(flow), found = { 0 }, by_reply = { 0 };
    /* as dumped; none of them may be written. 0x4000 is IPS_OFFLOAD */
    s.status |= SAMI_IPS_EXPECTED | SAMI_IPS_DYING | SAMI_IPS_FIXED_TIMEOUT | 0x4000;
    int result = test_apply(firewall, SAMI_OP_CREATE, &s);
    gboolean is_found = test_get(firewall, &s.key, &found);
    if (result != 0 || !is_found) {
        g_autofree gchar *text = sami_flow_key_to_string(&s.key);
        fprintf(stderr, "%s: %s\n", text, result ? g_strerror(result) : "not found");
    }
    CU_ASSERT_EQUAL(result, 0);
    CU_ASSERT_TRUE(is_found);
    check_read_back(&s, &found);
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &s), EEXIST);

    SamiFlowKey reply_key = { s.reply, s.key.zone, s.key.family, s.key.protocol };
    CU_ASSERT_TRUE(test_get(firewall, &reply_key, &by_reply));
    CU_ASSERT_TRUE(sami_flow_key_equal(&by_reply.key, &s.key));
    g_autoptr(GArray) keys = test_dump(firewall, &(SamiDumpFilter){ 0 }, NULL);
    CU_ASSERT_EQUAL(keys->len, 1);
    CU_ASSERT_EQUAL(count(keys, &s.key), 1);
    check_deletion(firewall, &s, &found);
}

static void
test_life(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    for (gsize i = 0; i < G_N_ELEMENTS(flows); i++)
        check_life(firewall, &flows[i]);
}

static void
test_nat(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    if (!backend_has_nat()) {
        printf("(skipped: no nat base chain could be made) ");
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(nat_flows); i++)
        check_life(firewall, &nat_flows[i]);
}

static void
test_labels(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    SamiSession s = make(&flows[0]), found = { 0 };
    if (!backend_has_labels()) {
        printf("(skipped: no rule with labels could be made) ");
        return;
    }
    for (guint i = 0; i < 16; i++)
        s.labels[i] = (guint8) (i * 17 + 1);
    s.has |= SAMI_HAS_LABELS;
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &s), 0);
    CU_ASSERT_TRUE(test_get(firewall, &s.key, &found));
    CU_ASSERT_TRUE(found.has & SAMI_HAS_LABELS);
    CU_ASSERT_EQUAL(memcmp(found.labels, s.labels, sizeof s.labels), 0);
    s.labels[3] ^= 0xff;
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_UPDATE_FULL, &s), 0);
    CU_ASSERT_TRUE(test_get(firewall, &s.key, &found));
    CU_ASSERT_EQUAL(memcmp(found.labels, s.labels, sizeof s.labels), 0);
}

/* Reply tuple, window scale and flags outside 0x08 must stay. */
static void
check_full_update(SamiFirewall *firewall, const SamiSession *s)
{
    SamiSession full = *s, expected = *s, found = { 0 };
    full.reply.dst_port++;
    full.tcp_wscale[0] = full.tcp_wscale[1] = 1;
    full.tcp_flags[0] = full.tcp_flags[1] = 0;
    full.tcp_state = expected.tcp_state = 7;
    full.timeout_s = expected.timeout_s = 500;
    full.mark = expected.mark = 42;
    full.has |= SAMI_HAS_MARK;
    expected.has |= SAMI_HAS_MARK;
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_UPDATE_FULL, &full), 0);
    CU_ASSERT_TRUE(test_get(firewall, &s->key, &found));
    check_read_back(&expected, &found);
}

static void
test_updates(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    SamiSession s = make(&flows[0]), found = { 0 };
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &s), 0);
    check_full_update(firewall, &s);

    SamiSession flags = { .key = s.key, .has = SAMI_HAS_TCP, .tcp_flags = { 0x17, 0x17 } };
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_UPDATE_FLAGS, &flags), 0);
    CU_ASSERT_TRUE(test_get(firewall, &s.key, &found));
    CU_ASSERT_EQUAL(found.tcp_flags[0], SAMI_TCP_FLAG_WINDOW_SCALE | SAMI_TCP_FLAG_SACK_PERM);
    CU_ASSERT_EQUAL(found.tcp_flags[1], SAMI_TCP_FLAG_WINDOW_SCALE);
    CU_ASSERT_EQUAL(found.tcp_wscale[1], 14);
    CU_ASSERT_EQUAL(found.tcp_state, 7);
    flags.tcp_flags[1] = SAMI_TCP_FLAG_BE_LIBERAL;
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_UPDATE_FLAGS, &flags), 0);
    CU_ASSERT_TRUE(test_get(firewall, &s.key, &found));
    CU_ASSERT_EQUAL(found.tcp_flags[1], SAMI_TCP_FLAG_WINDOW_SCALE | SAMI_TCP_FLAG_BE_LIBERAL);

    SamiSession timeout = { .key = s.key, .has = SAMI_HAS_TIMEOUT, .timeout_s = 300 };
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_UPDATE_TIMEOUT, &timeout), 0);
    CU_ASSERT_TRUE(test_get(firewall, &s.key, &found));
    CU_ASSERT_TRUE(found.timeout_s <= 300 && found.timeout_s >= 297);
    CU_ASSERT_EQUAL(found.mark, 42);
    timeout.timeout_s = G_MAXUINT32; /* clamped */
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_UPDATE_TIMEOUT, &timeout), 0);
    CU_ASSERT_TRUE(test_get(firewall, &s.key, &found));
    CU_ASSERT_TRUE(found.timeout_s > 432000);
}

/* Both tuples of a flow are in one table. */
static void
test_clashes(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    SamiSession a = test_session(IPPROTO_UDP, "10.0.0.3", 1000, "10.9.0.1", 53), found = { 0 };
    SamiSession reversed = test_session(IPPROTO_UDP, "10.9.0.1", 53, "10.0.0.3", 1000);
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &a), 0);
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &reversed), EEXIST);
    CU_ASSERT_TRUE(test_get(firewall, &reversed.key, &found));
    CU_ASSERT_TRUE(sami_flow_key_equal(&found.key, &a.key));
    if (backend_has_nat()) { /* another original, the same reply */
        SamiSession b = test_session(IPPROTO_UDP, "10.0.0.4", 1001, "10.9.0.1", 53);
        b.reply = a.reply;
        CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &b), EEXIST);
        CU_ASSERT_FALSE(test_get(firewall, &b.key, &found));
    }
}

static void
test_refused(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    SamiSession error = test_session(IPPROTO_ICMP, "10.0.0.3", 1, "10.9.0.1", ECHO4), found;
    error.key.orig.dst_port = 3 << 8; /* an ICMP error is no flow */
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &error), EINVAL);
    CU_ASSERT_FALSE(test_get(firewall, &error.key, &found));
    SamiSession timeless = test_session(IPPROTO_UDP, "10.0.0.5", 1, "10.9.0.1", 53);
    timeless.has &= ~(guint32) SAMI_HAS_TIMEOUT;
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &timeless), EINVAL);
    SamiSession strange = test_session(IPPROTO_TCP, "10.0.0.5", 1, "10.9.0.1", 80);
    strange.tcp_state = SAMI_TCP_STATE_MAX + 1;
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &strange), ERANGE);
    CU_ASSERT_FALSE(test_get(firewall, &strange.key, &found));
    strange.tcp_state = SAMI_TCP_STATE_MAX;
    strange.tcp_wscale[1] = 15;
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &strange), ERANGE);
    SamiSession short_lived = test_session(IPPROTO_UDP, "10.0.0.5", 2, "10.9.0.1", 53);
    short_lived.timeout_s = 0; /* accepted, and gone at once */
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &short_lived), 0);
    CU_ASSERT_FALSE(test_get(firewall, &short_lived.key, &found));
}

static SamiSession
numbered(guint i)
{
    guint16 port = (guint16) (1024 + i);
    SamiSession s = test_session(IPPROTO_TCP, "10.1.0.0", port, "10.9.0.1", 443);
    s.mark = i + 1;
    s.has |= SAMI_HAS_MARK;
    return s;
}

static SamiPrefix
prefix(const gchar *text)
{
    SamiPrefix p = { 0 };
    g_assert_true(sami_prefix_parse(text, &p, NULL));
    return p;
}

/* Many parts, each entry once, though an untranslated one matches both passes of an address. */
static void
check_dump(SamiFirewall *firewall, const gchar *vm, guint expected)
{
    SamiPrefix p = prefix(vm);
    SamiDumpFilter filter = { .prefixes = &p, .n_prefixes = 1 };
    g_autoptr(GArray) keys = test_dump(firewall, &filter, NULL);
    CU_ASSERT_EQUAL(keys->len, expected);
}

static void
check_headroom(SamiFirewall *firewall, guint expected)
{
    guint64 entries = 0, max = 0;
    CU_ASSERT_TRUE(sami_firewall_headroom(firewall, &entries, &max, NULL));
    CU_ASSERT_EQUAL(entries, expected);
    CU_ASSERT_TRUE(max >= entries);
}

/* Every op's result has to be `on_37th` in 37, 137, ... and `elsewhere` in the others. */
static void
check_results(const SamiOp *ops, int on_37th, int elsewhere)
{
    guint n_wrong = 0;
    for (guint i = 0; i < MANY; i++)
        n_wrong += ops[i].result != (i % 100 == 37 ? on_37th : elsewhere);
    CU_ASSERT_EQUAL(n_wrong, 0);
}

static void
test_many(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    g_autofree SamiSession *sessions = g_new(SamiSession, MANY), *found = g_new(SamiSession, MANY);
    g_autofree SamiOp *ops = g_new(SamiOp, MANY);
    g_autofree SamiFlowKey *keys = g_new(SamiFlowKey, MANY);
    g_autofree gboolean *is_found = g_new(gboolean, MANY);
    guint n_wrong = 0;
    for (guint i = 0; i < MANY; i++) {
        sessions[i] = numbered(i);
        keys[i] = sessions[i].key;
        ops[i] = (SamiOp){ SAMI_OP_CREATE, &sessions[i], -1 };
        if (i % 100 == 37)
            CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &sessions[i]), 0);
    }
    check_headroom(firewall, MANY / 100);
    CU_ASSERT_TRUE(sami_firewall_apply(firewall, ops, MANY, NULL));
    check_results(ops, EEXIST, 0);
    check_headroom(firewall, MANY);
    CU_ASSERT_TRUE(sami_firewall_get(firewall, keys, MANY, found, is_found, NULL));
    for (guint i = 0; i < MANY; i++)
        n_wrong += !is_found[i] || found[i].mark != i + 1;
    CU_ASSERT_EQUAL(n_wrong, 0);
    check_dump(firewall, "0.0.0.0/0", MANY);
    check_dump(firewall, "10.1.0.0", MANY);
    check_dump(firewall, "10.9.0.1", MANY);
    check_dump(firewall, "10.9.0.0/24", MANY);
    check_dump(firewall, "10.2.0.0", 0);
    for (guint i = 0; i < MANY; i++)
        ops[i].kind = SAMI_OP_DELETE;
    CU_ASSERT_TRUE(sami_firewall_apply(firewall, ops, MANY, NULL));
    check_results(ops, 0, 0);
    check_headroom(firewall, 0);
}

typedef struct {
    guint n[3];
    SamiSession last;
} Seen;

static void
on_event(SamiEventKind kind, const SamiSession *session, gpointer user_data)
{
    Seen *seen = user_data;
    seen->n[kind]++;
    seen->last = *session;
}

static void
check_last(const Seen *seen, SamiAction action, const SamiSession *session)
{
    guint32 given = SAMI_HAS_REPLY | SAMI_HAS_ID;
    /* a live flow's start is in the answer to a GET only */
    given |= action == SAMI_ACTION_DELETED ? SAMI_HAS_START : 0;
    CU_ASSERT_TRUE(sami_flow_key_equal(&seen->last.key, &session->key));
    CU_ASSERT_EQUAL(memcmp(&seen->last.reply, &session->reply, sizeof session->reply), 0);
    CU_ASSERT_EQUAL(seen->last.action, action);
    CU_ASSERT_EQUAL(seen->last.has & (given | SAMI_HAS_START), given);
    CU_ASSERT_EQUAL(seen->last.tcp_state, session->tcp_state);
}

static void
test_events(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    g_autoptr(SamiFirewall) other = backend_share(firewall);
    g_autoptr(SamiFirewallEvents) events = sami_firewall_events_new(firewall, NULL);
    SamiSession s = make(&flows[4]), mine = make(&flows[0]);
    Seen seen = { 0 };
    CU_ASSERT_PTR_NOT_NULL_FATAL(events);
    struct pollfd pollfd = { sami_firewall_events_fd(events), POLLIN, 0 };
    CU_ASSERT_TRUE(sami_firewall_events_barrier(events, on_event, &seen, NULL)); /* of nothing */
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &mine), 0); /* own: not handed out */
    CU_ASSERT_EQUAL(test_apply(other, SAMI_OP_CREATE, &s), 0);
    CU_ASSERT_EQUAL(poll(&pollfd, 1, 1000), 1);
    CU_ASSERT_TRUE(sami_firewall_events_barrier(events, on_event, &seen, NULL));
    CU_ASSERT_EQUAL(seen.n[SAMI_EVENT_NEW], 1);
    check_last(&seen, SAMI_ACTION_CREATED, &s);
    CU_ASSERT_EQUAL(poll(&pollfd, 1, 0), 0);

    s.tcp_state = 7;
    CU_ASSERT_EQUAL(test_apply(other, SAMI_OP_UPDATE_FULL, &s), 0);
    CU_ASSERT_TRUE(sami_firewall_events_read(events, 10, on_event, &seen, NULL));
    CU_ASSERT_EQUAL(seen.n[SAMI_EVENT_UPDATE], 1);
    check_last(&seen, SAMI_ACTION_UPDATE, &s);
    CU_ASSERT_EQUAL(test_apply(other, SAMI_OP_DELETE, &s), 0);
    CU_ASSERT_EQUAL(test_apply(other, SAMI_OP_DELETE, &mine), 0); /* not by us */
    CU_ASSERT_TRUE(sami_firewall_events_read(events, 1, on_event, &seen, NULL)); /* one, not two */
    CU_ASSERT_EQUAL(seen.n[SAMI_EVENT_DESTROY], 1);
    check_last(&seen, SAMI_ACTION_DELETED, &s);
    CU_ASSERT_TRUE(sami_firewall_events_barrier(events, on_event, &seen, NULL));
    CU_ASSERT_EQUAL(seen.n[SAMI_EVENT_DESTROY], 2);
    check_last(&seen, SAMI_ACTION_DELETED, &mine);
    CU_ASSERT_EQUAL(seen.n[SAMI_EVENT_NEW] + seen.n[SAMI_EVENT_UPDATE], 2);
}

/* VM 10.0.0.5, 10.0.0.6 and fd00:1::/64. */
typedef enum { OTHERS, ITS_OWN, NOT_ITS_END } Selected;

/* clang-format off */
static const struct {
    Flow flow;
    Selected expected;
} selection[] = {
    { { IPPROTO_TCP, "10.0.0.5", "10.9.0.1", 1, 80 }, ITS_OWN },
    { { IPPROTO_TCP, "10.9.0.1", "10.0.0.5", 2, 80 }, ITS_OWN },
    { { IPPROTO_TCP, "10.0.0.5", "10.0.0.6", 3, 80 }, ITS_OWN },
    { { IPPROTO_TCP, "10.0.0.6", "10.0.0.5", 4, 80 }, ITS_OWN },
    { { IPPROTO_TCP, "10.0.0.6", "10.0.0.6", 5, 80 }, ITS_OWN },
    { { IPPROTO_TCP, "10.0.0.7", "10.9.0.1", 6, 80 }, OTHERS },
    { { IPPROTO_UDP, "10.9.0.1", "10.0.0.7", 7, 53 }, OTHERS },
    { { IPPROTO_TCP, "10.0.0.5", "10.9.0.1", 8, 80, .zone = 3, .mark = 0x11 }, ITS_OWN },
    { { IPPROTO_TCP, "10.0.0.7", "10.9.0.1", 9, 80, .mark = 0x21 }, OTHERS },
    { { IPPROTO_TCP, "fd00:1::5", "fd09::1", 10, 80 }, ITS_OWN },
    { { IPPROTO_TCP, "fd09::1", "fd00:1::6", 11, 80, .mark = 0x31 }, ITS_OWN },
    { { IPPROTO_UDP, "fd00:2::5", "fd09::1", 12, 80 }, OTHERS },
    { { IPPROTO_TCP, "10.0.0.5", "10.9.0.1", 13, 80, .reply_dst = PUBLIC }, ITS_OWN },
    { { IPPROTO_TCP, "10.9.0.1", PUBLIC, 14, 80, .reply_src = "10.0.0.5" }, ITS_OWN },
    { { IPPROTO_TCP, "10.0.0.7", "10.9.0.1", 15, 80, .reply_dst = "10.0.0.5", .reply_dport = 6015 },
      NOT_ITS_END },
    { { IPPROTO_TCP, "10.9.0.1", "10.0.0.5", 16, 80, .reply_src = "10.0.0.7" }, NOT_ITS_END },
    { { IPPROTO_TCP, "fd00:2::5", "fd09::1", 17, 80, .reply_dst = "fd00:1::9", .reply_dport = 99 },
      NOT_ITS_END },
};
/* clang-format on */

static gboolean
names(const SamiDumpFilter *f, const SamiSession *s, const SamiAddress *address)
{
    return sami_prefixes_contain(f->prefixes, f->n_prefixes, s->key.family, address);
}

/* The definition of firewall.h, by line of the table. */
static Selected
select_line(const SamiDumpFilter *f, const SamiSession *s)
{
    if ((f->family && f->family != s->key.family) || (f->has_zone && f->zone != s->key.zone) ||
        (f->has_mark && (s->mark & f->mark_mask) != f->mark))
        return OTHERS;
    if (f->n_prefixes == 0 || names(f, s, &s->key.orig.src) || names(f, s, &s->reply.src))
        return ITS_OWN;
    return names(f, s, &s->key.orig.dst) || names(f, s, &s->reply.dst) ? NOT_ITS_END : OTHERS;
}

/* Once with the kernel's filter where there is one, once counting what only names the VM. */
static void
check_filter(SamiFirewall *firewall, SamiDumpFilter filter)
{
    for (guint is_counting = 0; is_counting < 2; is_counting++) {
        guint64 n_counted = 0, n_expected = 0;
        guint n_wrong = 0;
        filter.is_counting_not_vm_end = (guint8) is_counting;
        g_autoptr(GArray) keys = test_dump(firewall, &filter, &n_counted);
        for (gsize k = 0; k < G_N_ELEMENTS(selection); k++) {
            SamiSession s = make(&selection[k].flow);
            Selected selected = select_line(&filter, &s);
            if (!backend_has_nat() && is_translated(&s))
                selected = OTHERS;
            n_expected += selected == NOT_ITS_END;
            n_wrong += count(keys, &s.key) != (selected == ITS_OWN);
        }
        CU_ASSERT_EQUAL(n_wrong, 0);
        if (is_counting)
            CU_ASSERT_EQUAL(n_counted, n_expected);
    }
}

static void
test_filters(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    SamiPrefix vm[] = { prefix("10.0.0.5"), prefix("10.0.0.6"), prefix("fd00:1::/64") };
    SamiPrefix net = prefix("10.0.0.4/31"), nobody = prefix("10.0.0.9"), v6 = vm[2];
    const SamiDumpFilter filters[] = {
        { 0 },
        { .family = 4 },
        { .family = 6 },
        { .prefixes = vm, .n_prefixes = 1 },
        { .prefixes = vm, .n_prefixes = 2 },
        { .prefixes = vm, .n_prefixes = 3 },
        { .prefixes = vm, .n_prefixes = 3, .family = 4 },
        { .prefixes = vm, .n_prefixes = 3, .family = 6 },
        { .prefixes = &v6, .n_prefixes = 1 },
        { .prefixes = &v6, .n_prefixes = 1, .family = 4 }, /* nothing can match, and it ends */
        { .prefixes = &net, .n_prefixes = 1 },
        { .prefixes = &nobody, .n_prefixes = 1 },
        { .has_zone = TRUE, .zone = 3 },
        { .has_zone = TRUE, .zone = 0, .prefixes = vm, .n_prefixes = 1 },
        { .has_mark = TRUE, .mark = 0x21, .mark_mask = G_MAXUINT32 },
        { .has_mark = TRUE, .mark = 1, .mark_mask = 0x0f },
        { .has_mark = TRUE, .mark = 0, .mark_mask = G_MAXUINT32 },
        { .has_mark = TRUE, .mark = 1, .mark_mask = 0x0f, .prefixes = vm, .n_prefixes = 3 },
    };
    SamiDumpFilter of_vm = { .prefixes = vm, .n_prefixes = 3 };
    for (gsize i = 0; i < G_N_ELEMENTS(selection); i++) {
        SamiSession s = make(&selection[i].flow);
        CU_ASSERT_EQUAL(select_line(&of_vm, &s), selection[i].expected);
        if (backend_has_nat() || !is_translated(&s))
            CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &s), 0);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(filters); i++)
        check_filter(firewall, filters[i]);
}

static void
delete_it(const SamiSession *session, gpointer user_data)
{
    test_apply(user_data, SAMI_OP_DELETE, session);
}

/* Entries go while they are dumped; func may delete what it is handed. */
static void
test_delete_in_dump(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    for (guint i = 0; i < 1000; i++) {
        SamiSession s = numbered(i);
        CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &s), 0);
    }
    SamiDumpFilter all = { 0 };
    g_autoptr(SamiFirewallDump) dump = sami_firewall_dump_new(firewall, &all, NULL);
    SamiDumpStatus status = SAMI_DUMP_MORE;
    CU_ASSERT_PTR_NOT_NULL_FATAL(dump);
    while (status == SAMI_DUMP_MORE) {
        struct pollfd pollfd = { sami_firewall_dump_fd(dump), POLLIN, 0 };
        if (poll(&pollfd, 1, 5000) != 1)
            break;
        status = sami_firewall_dump_next(dump, delete_it, firewall, NULL);
    }
    CU_ASSERT_EQUAL(status, SAMI_DUMP_END);
    check_headroom(firewall, 0);
}

static int
expect_one(SamiFirewall *firewall, SamiExpectOpKind kind, const SamiExpectation *e)
{
    g_autoptr(GError) error = NULL;
    SamiExpectOp op = { .kind = kind, .expectation = e, .result = -1 };
    CU_ASSERT_TRUE(sami_firewall_expect(firewall, &op, 1, &error));
    CU_ASSERT_PTR_NULL(error);
    return op.result;
}

static void
take(const SamiExpectation *e, gpointer user_data)
{
    g_array_append_vals(user_data, e, 1);
}

static guint
expected(SamiFirewall *firewall, const SamiFlowKey *master, SamiExpectation *ret_last)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) found = g_array_new(FALSE, TRUE, sizeof(SamiExpectation));
    CU_ASSERT_TRUE(sami_firewall_expectations(firewall, master, take, found, &error));
    CU_ASSERT_PTR_NULL(error);
    if (found->len > 0)
        *ret_last = g_array_index(found, SamiExpectation, found->len - 1);
    return found->len;
}

/* What the ftp helper makes of 227 from a translated server. */
static SamiExpectation
passive(const SamiSession *master, guint16 port)
{
    SamiExpectation e = { .key = master->key, .master = master->key, .mask_src = test_address("255.255.255.255"), .flags = 0, .timeout_s = 77,
                          .action = SAMI_ACTION_CREATED, .has = SAMI_EXPECT_HAS_NAT | SAMI_EXPECT_HAS_FUNCTION, .nat_port = port,
                          .function = "nat-follow-master" };
    e.key.orig.src_port = 0;
    e.key.orig.dst_port = port;
    return e;
}

static void
test_expectations(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    SamiSession master = test_session(IPPROTO_TCP, "10.0.0.1", 1000, "198.51.100.1", 21), other = master;
    SamiExpectation e, last = { .has = 0 };
    master.key.zone = 7; /* the kernel says no zone of an expectation */
    other.key.orig.src_port = 1001;
    CU_ASSERT_TRUE(sami_flow_key_mirror(&other.key, &other.reply));
    e = passive(&master, 40000);
    CU_ASSERT_EQUAL(expected(firewall, &master.key, &last), 0);
    CU_ASSERT_EQUAL(expect_one(firewall, SAMI_EXPECT_CREATE, &e), ENOENT);
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &other), 0);
    CU_ASSERT_EQUAL(expected(firewall, &other.key, &last), 0); /* without helper: the kernel does not even end the dump */
    SamiExpectation of_other = passive(&other, 40000);
    CU_ASSERT_EQUAL(expect_one(firewall, SAMI_EXPECT_CREATE, &of_other), EOPNOTSUPP);
    master.has |= SAMI_HAS_HELPER;
    memcpy(master.helper, "ftp", 4);
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &master), 0);
    CU_ASSERT_EQUAL(expect_one(firewall, SAMI_EXPECT_CREATE, &e), 0);
    CU_ASSERT_EQUAL(expect_one(firewall, SAMI_EXPECT_CREATE, &e), EEXIST);
    CU_ASSERT_EQUAL_FATAL(expected(firewall, &master.key, &last), 1);
    CU_ASSERT_TRUE(sami_expectation_is_same(&last, &e));
    CU_ASSERT_EQUAL(last.has, SAMI_EXPECT_HAS_NAT | SAMI_EXPECT_HAS_FUNCTION | SAMI_EXPECT_HAS_HELPER | SAMI_EXPECT_HAS_ID);
    CU_ASSERT_STRING_EQUAL(last.helper, "ftp");
    CU_ASSERT_STRING_EQUAL(last.function, "nat-follow-master");
    CU_ASSERT_EQUAL(last.nat_port, 40000);
    CU_ASSERT_TRUE(last.timeout_s > 77); /* the helper's own, whatever the creation says */
    CU_ASSERT_EQUAL(expect_one(firewall, SAMI_EXPECT_SET_TIMEOUT, &e), 0);
    CU_ASSERT_EQUAL(expected(firewall, NULL, &last), 1);
    CU_ASSERT_TRUE(last.timeout_s <= 77 && last.timeout_s >= 75);
    CU_ASSERT_EQUAL(last.key.zone, 0);

    SamiExpectation newer = passive(&master, 40001); /* one a master: the oldest goes without a word */
    CU_ASSERT_EQUAL(expect_one(firewall, SAMI_EXPECT_CREATE, &newer), 0);
    CU_ASSERT_EQUAL_FATAL(expected(firewall, &master.key, &last), 1);
    CU_ASSERT_EQUAL(last.key.orig.dst_port, 40001);
    SamiExpectation wrong = last;
    wrong.id++;
    CU_ASSERT_EQUAL(expect_one(firewall, SAMI_EXPECT_DELETE, &wrong), ENOENT);
    CU_ASSERT_EQUAL(expect_one(firewall, SAMI_EXPECT_DELETE, &last), 0);
    CU_ASSERT_EQUAL(expected(firewall, &master.key, &last), 0);
    CU_ASSERT_EQUAL(expect_one(firewall, SAMI_EXPECT_DELETE, &newer), ENOENT);
    CU_ASSERT_EQUAL(expect_one(firewall, SAMI_EXPECT_CREATE, &e), 0);
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_DELETE, &master), 0); /* and all that it expects */
    CU_ASSERT_EQUAL(expected(firewall, NULL, &last), 0);
}

static void
test_nothing(void)
{
    g_autoptr(SamiFirewall) firewall = backend_new();
    CU_ASSERT_TRUE(sami_firewall_apply(firewall, NULL, 0, NULL));
    CU_ASSERT_TRUE(sami_firewall_get(firewall, NULL, 0, NULL, NULL, NULL));
    sami_firewall_free(NULL);
    sami_firewall_dump_free(NULL);
    sami_firewall_events_free(NULL);
}

int
test_firewall_main(const gchar *suite, const SamiTest *own, guint n_own)
{
    static const SamiTest shared[] = {
        { "a flow from creation to deletion", test_life },
        { "translated flows", test_nat },
        { "labels", test_labels },
        { "updates write what they may", test_updates },
        { "taken tuples", test_clashes },
        { "refused records", test_refused },
        { "each of 10000 has its own result", test_many },
        { "events and barrier", test_events },
        { "filters", test_filters },
        { "deletion during a dump", test_delete_in_dump },
        { "expectations", test_expectations },
        { "nothing to do", test_nothing },
    };
    g_autofree SamiTest *all = g_new(SamiTest, G_N_ELEMENTS(shared) + n_own);
    memcpy(all, shared, sizeof shared);
    memcpy(all + G_N_ELEMENTS(shared), own, n_own * sizeof *own);
    return sami_test_main(suite, all, G_N_ELEMENTS(shared) + n_own, NULL, NULL);
}
