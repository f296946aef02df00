/* The real kernel, in a network namespace of this process's own: what is written is there, field by field. Exit 77 without root. */
#include "config.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "firewall/firewall.h"
#include "tests/unit/harness.h"

static SamiFirewall *firewall;

static void
make(SamiSession *s, guint8 family, guint8 protocol, guint16 port)
{
    memset(s, 0, sizeof *s);
    s->key.family = family;
    s->key.protocol = protocol;
    gsize n = family == 4 ? 4 : 16;
    memcpy(s->key.orig.src.octets, family == 4 ? "\x0a\x00\x00\x0d" : "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x0d", n);
    memcpy(s->key.orig.dst.octets, family == 4 ? "\xc0\x00\x02\x01" : "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", n);
    s->key.orig.src_port = port;
    s->key.orig.dst_port = protocol == IPPROTO_ICMP ? 8 << 8 : protocol == IPPROTO_ICMPV6 ? 128 << 8 : 443;
    sami_flow_key_mirror(&s->key, &s->reply);
    s->has = SAMI_HAS_REPLY | SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_MARK;
    s->status = SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED | SAMI_IPS_CONFIRMED;
    s->timeout_s = 600;
    s->mark = 0x1234;
    s->action = SAMI_ACTION_CREATED;
    if (protocol == IPPROTO_TCP) {
        s->has |= SAMI_HAS_TCP | SAMI_HAS_WSCALE;
        s->tcp_state = SAMI_TCP_STATE_ESTABLISHED;
        s->tcp_flags[0] = s->tcp_flags[1] = 0x23;
        s->tcp_wscale[0] = 7;
        s->tcp_wscale[1] = 9;
    }
}

static int
apply(SamiOpKind kind, const SamiSession *s)
{
    SamiOp op = { .kind = kind, .session = s };
    CU_ASSERT_TRUE(sami_firewall_apply(firewall, &op, 1, NULL));
    return op.result;
}

static gboolean
get(const SamiFlowKey *key, SamiSession *ret)
{
    gboolean found = FALSE;
    CU_ASSERT_TRUE(sami_firewall_get(firewall, key, 1, ret, &found, NULL));
    return found;
}

static void
test_round_trip(void)
{
    static const struct {
        guint8 family, protocol;
        gboolean snat, dnat;
    } cases[] = {
        { 4, IPPROTO_TCP, 0, 0 }, { 6, IPPROTO_TCP, 0, 0 },  { 4, IPPROTO_UDP, 0, 0 }, { 6, IPPROTO_UDP, 0, 0 },
        { 4, IPPROTO_ICMP, 0, 0 }, { 6, IPPROTO_ICMPV6, 0, 0 }, { 4, IPPROTO_TCP, 1, 0 }, { 4, IPPROTO_TCP, 0, 1 },
        { 4, IPPROTO_TCP, 1, 1 }, { 6, IPPROTO_TCP, 1, 0 },  { 6, IPPROTO_TCP, 0, 1 }, { 4, IPPROTO_ICMP, 1, 0 },
        { 4, IPPROTO_UDP, 1, 0 },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        SamiSession s, found;
        make(&s, cases[i].family, cases[i].protocol, (guint16) (1000 + i));
        guint last = cases[i].family == 4 ? 3 : 15;
        if (cases[i].snat) {
            s.reply.dst.octets[last] = 99;
            *(s.key.protocol == IPPROTO_ICMP ? &s.reply.src_port : &s.reply.dst_port) = (guint16) (40000 + i);
        }
        if (cases[i].dnat) {
            s.reply.src.octets[last] = 77;
            s.reply.src_port = 8443;
        }
        int result = apply(SAMI_OP_CREATE, &s);
        if (result != 0 || !get(&s.key, &found)) {
            g_printerr("case %u: %s\n", i, result ? g_strerror(result) : "not found");
            CU_FAIL("not created");
            continue;
        }
        CU_ASSERT_TRUE(sami_flow_key_equal(&found.key, &s.key));
        if (memcmp(&found.reply, &s.reply, sizeof s.reply) != 0) {
            g_printerr("case %u: reply %u.%u -> %u.%u\n", i, found.reply.src.octets[last], found.reply.src_port,
                       found.reply.dst.octets[last], found.reply.dst_port);
            CU_FAIL("another reply tuple");
        }
        CU_ASSERT_EQUAL(found.mark, s.mark);
        CU_ASSERT_TRUE(found.timeout_s >= 598 && found.timeout_s <= 600);
        CU_ASSERT_EQUAL((found.status & SAMI_IPS_SRC_NAT) != 0, cases[i].snat);
        CU_ASSERT_EQUAL((found.status & SAMI_IPS_DST_NAT) != 0, cases[i].dnat);
        if (s.key.protocol == IPPROTO_TCP) {
            CU_ASSERT_EQUAL(found.tcp_wscale[0], 7);
            CU_ASSERT_EQUAL(found.tcp_wscale[1], 9);
            CU_ASSERT_EQUAL(found.tcp_flags[0] & 0x2f, 0x0b); /* 0x20 never comes through */
            CU_ASSERT_EQUAL(found.tcp_state, SAMI_TCP_STATE_ESTABLISHED);
        }
        CU_ASSERT_EQUAL(apply(SAMI_OP_CREATE, &s), EEXIST);
    }
}

static void
test_update_and_delete(void)
{
    SamiSession s, found;
    make(&s, 4, IPPROTO_TCP, 2000);
    CU_ASSERT_EQUAL(apply(SAMI_OP_UPDATE_TIMEOUT, &s), ENOENT);
    CU_ASSERT_EQUAL(apply(SAMI_OP_CREATE, &s), 0);
    s.tcp_flags[0] = s.tcp_flags[1] = 0;
    CU_ASSERT_EQUAL(apply(SAMI_OP_UPDATE_FLAGS, &s), 0);
    CU_ASSERT_TRUE_FATAL(get(&s.key, &found));
    CU_ASSERT_EQUAL(found.tcp_flags[0] & SAMI_TCP_FLAG_BE_LIBERAL, 0);
    CU_ASSERT_EQUAL(found.tcp_wscale[1], 9);
    s.timeout_s = 4000;
    CU_ASSERT_EQUAL(apply(SAMI_OP_UPDATE_TIMEOUT, &s), 0);
    CU_ASSERT_TRUE_FATAL(get(&s.key, &found));
    CU_ASSERT_TRUE(found.timeout_s > 3990);
    found.has |= SAMI_HAS_ID;
    found.flow_id++;
    CU_ASSERT_EQUAL(apply(SAMI_OP_DELETE, &found), ENOENT);
    found.flow_id--;
    CU_ASSERT_EQUAL(apply(SAMI_OP_DELETE, &found), 0);
    CU_ASSERT_FALSE(get(&s.key, &found));
}

/* 10 000 entries, every hundredth there already: the errors belong to exactly those. */
static void
test_errors_are_attributed(void)
{
    enum { N = 10000 };
    g_autofree SamiSession *sessions = g_new(SamiSession, N);
    g_autofree SamiOp *ops = g_new0(SamiOp, N);
    guint n_wrong = 0;
    for (guint i = 0; i < N; i++) {
        make(&sessions[i], 4, IPPROTO_UDP, (guint16) (5000 + i));
        sessions[i].key.zone = 3;
        ops[i] = (SamiOp){ .kind = SAMI_OP_CREATE, .session = &sessions[i] };
        if (i % 100 == 0)
            apply(SAMI_OP_CREATE, &sessions[i]);
    }
    CU_ASSERT_TRUE(sami_firewall_apply(firewall, ops, N, NULL));
    for (guint i = 0; i < N; i++)
        n_wrong += ops[i].result != (i % 100 == 0 ? EEXIST : 0);
    CU_ASSERT_EQUAL(n_wrong, 0);
}

static void
count(const SamiSession *session, gpointer user_data)
{
    (*(guint *) user_data)++;
}

static guint
dump(const SamiDumpFilter *filter)
{
    guint n = 0;
    g_autoptr(SamiFirewallDump) d = sami_firewall_dump_new(firewall, filter, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    for (;;) {
        struct pollfd pollfd = { sami_firewall_dump_fd(d), POLLIN, 0 };
        poll(&pollfd, 1, 1000);
        SamiDumpStatus status = sami_firewall_dump_next(d, count, &n, NULL);
        CU_ASSERT_NOT_EQUAL(status, SAMI_DUMP_BAD);
        if (status != SAMI_DUMP_MORE)
            return n;
    }
}

static void
test_dump(void)
{
    SamiPrefix host, other, v6;
    CU_ASSERT_TRUE(sami_prefix_parse("10.0.0.13", &host, NULL));
    CU_ASSERT_TRUE(sami_prefix_parse("192.0.2.1", &other, NULL));
    CU_ASSERT_TRUE(sami_prefix_parse("2001:db8::d", &v6, NULL));
    SamiDumpFilter zone = { .has_zone = TRUE, .zone = 3 };
    CU_ASSERT_EQUAL(dump(&zone), 10000);
    SamiDumpFilter filtered = { .family = 4, .has_zone = TRUE, .zone = 3, .prefixes = &host, .n_prefixes = 1 };
    CU_ASSERT_EQUAL(dump(&filtered), 10000); /* each once, though untranslated entries match both passes */
    SamiDumpFilter responder = { .family = 4, .has_zone = TRUE, .zone = 3, .prefixes = &other, .n_prefixes = 1 };
    CU_ASSERT_EQUAL(dump(&responder), 10000);
    SamiDumpFilter six = { .prefixes = &v6, .n_prefixes = 1 };
    CU_ASSERT_EQUAL(dump(&six), 5); /* the kernel's own IPv6 match is inverted */
}

typedef struct {
    guint n[3];
} Seen;

static void
on_event(SamiEventKind kind, const SamiSession *session, gpointer user_data)
{
    ((Seen *) user_data)->n[kind]++;
}

static void
test_events(void)
{
    g_autoptr(SamiFirewall) other = sami_firewall_linux_new(NULL);
    g_autoptr(SamiFirewallEvents) events = sami_firewall_events_new(firewall, NULL);
    Seen seen = { { 0 } };
    SamiSession s;
    CU_ASSERT_PTR_NOT_NULL_FATAL(events);
    make(&s, 4, IPPROTO_TCP, 3000);
    SamiOp ops[2] = { { .kind = SAMI_OP_CREATE, .session = &s }, { .kind = SAMI_OP_DELETE, .session = &s } };
    CU_ASSERT_TRUE(sami_firewall_apply(other, ops, 2, NULL));
    CU_ASSERT_TRUE(sami_firewall_apply(firewall, ops, 2, NULL)); /* our own: not handed out */
    GError *error = NULL;
    if (!sami_firewall_events_barrier(events, on_event, &seen, &error))
        CU_FAIL(error->message);
    CU_ASSERT_EQUAL(seen.n[SAMI_EVENT_NEW], 1);
    CU_ASSERT_EQUAL(seen.n[SAMI_EVENT_DESTROY], 1);
}

static const SamiTest tests[] = {
    { "every field comes back", test_round_trip },
    { "update and delete", test_update_and_delete },
    { "errors are attributed", test_errors_are_attributed },
    { "dumps and filters", test_dump },
    { "events and barrier", test_events },
};

int
main(void)
{
    g_autoptr(GError) error = NULL;
    if (unshare(CLONE_NEWNET) != 0) {
        g_print("SKIP: no network namespace can be made here: %s\n", g_strerror(errno));
        return 77;
    }
    if (system("nft 'table ip t { chain c { type nat hook postrouting priority 100; }; }; "
               "table ip6 t { chain c { type nat hook postrouting priority 100; }; }'") != 0) {
        g_print("SKIP: nft cannot make nat chains here\n");
        return 77;
    }
    firewall = sami_firewall_linux_new(&error);
    if (!firewall) {
        g_printerr("%s\n", error->message);
        return 1;
    }
    int status = sami_test_main("firewall", tests, G_N_ELEMENTS(tests), NULL, NULL);
    sami_firewall_free(firewall);
    return status;
}
