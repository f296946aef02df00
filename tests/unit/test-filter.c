/* The filter of a replication: which flows pass, and what becomes of a TCP flow that enters and leaves the wanted states. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "common/config-keys.h"
#include "exporter/filter.h"
#include "tests/unit/harness.h"

enum { NONE, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2 };

static gchar **
list(const gchar *text)
{
    return g_strsplit(text, ",", -1);
}

static SamiFilter *
make(const gchar *protocols, const gchar *addresses, const gchar *ignore, const gchar *states, GError **error)
{
    SamiConfigPeer peer = { .name = (gchar *) "fw2.example" };
    GStrv lists[] = { list(protocols), list(addresses), list(ignore), list(states) };
    peer.replicate_protocols = lists[0];
    peer.replicate_addresses = lists[1];
    peer.replicate_ignore = lists[2];
    peer.replicate_states = lists[3];
    SamiFilter *filter = sami_filter_new(&peer, error);
    for (guint i = 0; i < G_N_ELEMENTS(lists); i++)
        g_clear_pointer(&lists[i], g_strfreev);
    return filter;
}

static SamiSession
flow(guint8 protocol, const gchar *src, const gchar *dst, const gchar *reply_src, const gchar *reply_dst)
{
    SamiSession s = { .key = { .family = strchr(src, ':') ? 6 : 4, .protocol = protocol }, .has = reply_src ? SAMI_HAS_REPLY : 0 };
    int family = s.key.family == 6 ? AF_INET6 : AF_INET;
    inet_pton(family, src, s.key.orig.src.octets);
    inet_pton(family, dst, s.key.orig.dst.octets);
    if (reply_src) {
        inet_pton(family, reply_src, s.reply.src.octets);
        inet_pton(family, reply_dst, s.reply.dst.octets);
    }
    return s;
}

static void
test_flows(void)
{
    static const struct {
        const gchar *protocols, *addresses, *ignore;
        guint8 protocol;
        const gchar *src, *dst, *reply_src, *reply_dst;
        gboolean passes;
    } cases[] = {
        { "", "", "", IPPROTO_UDP, "10.0.0.13", "198.51.100.10", NULL, NULL, TRUE },
        { "tcp,icmpv6", "", "", IPPROTO_TCP, "10.0.0.13", "198.51.100.10", NULL, NULL, TRUE },
        { "tcp,icmpv6", "", "", IPPROTO_ICMPV6, "2001:db8::1", "2001:db8::2", NULL, NULL, TRUE },
        { "tcp,icmpv6", "", "", IPPROTO_UDP, "10.0.0.13", "198.51.100.10", NULL, NULL, FALSE },
        { "", "10.0.0.0/24", "", IPPROTO_UDP, "10.0.0.13", "198.51.100.10", NULL, NULL, TRUE },
        { "", "10.0.0.0/24", "", IPPROTO_UDP, "198.51.100.10", "10.0.0.13", NULL, NULL, TRUE },
        { "", "10.0.1.0/24", "", IPPROTO_UDP, "10.0.0.13", "198.51.100.10", NULL, NULL, FALSE },
        { "", "10.0.0.0/24", "", IPPROTO_UDP, "2001:db8::1", "2001:db8::2", NULL, NULL, FALSE },
        /* translated: the VM is an end, the public address is none */
        { "", "10.0.0.13", "", IPPROTO_TCP, "198.51.100.10", "192.0.2.2", "10.0.0.13", "198.51.100.10", TRUE },
        { "", "192.0.2.1", "", IPPROTO_TCP, "10.0.0.13", "198.51.100.10", "198.51.100.10", "192.0.2.1", FALSE },
        { "", "", "192.0.2.0/24", IPPROTO_TCP, "10.0.0.13", "198.51.100.10", "198.51.100.10", "192.0.2.1", TRUE },
        { "", "", "192.0.2.2", IPPROTO_TCP, "198.51.100.10", "192.0.2.2", "10.0.0.13", "198.51.100.10", TRUE },
        { "", "", "10.0.0.13", IPPROTO_TCP, "198.51.100.10", "192.0.2.2", "10.0.0.13", "198.51.100.10", FALSE },
        { "", "", "198.51.100.10", IPPROTO_TCP, "10.0.0.13", "198.51.100.10", NULL, NULL, FALSE },
        { "", "", "198.51.100.11", IPPROTO_TCP, "10.0.0.13", "198.51.100.10", NULL, NULL, TRUE },
        { "", "10.0.0.0/24", "10.0.0.13", IPPROTO_TCP, "10.0.0.13", "198.51.100.10", NULL, NULL, FALSE },
        { "udp", "10.0.0.0/24", "", IPPROTO_TCP, "10.0.0.13", "198.51.100.10", NULL, NULL, FALSE },
        { "", "", "2001:db8::/64", IPPROTO_TCP, "2001:db8::1", "2001:db8:1::2", NULL, NULL, FALSE },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(SamiFilter) filter = make(cases[i].protocols, cases[i].addresses, cases[i].ignore, "", NULL);
        SamiSession s = flow(cases[i].protocol, cases[i].src, cases[i].dst, cases[i].reply_src, cases[i].reply_dst);
        gboolean passes = filter && sami_filter_has_flow(filter, &s);
        if (passes != cases[i].passes)
            g_printerr("case %u\n", i);
        CU_ASSERT_EQUAL(passes, cases[i].passes);
    }
}

/* What is sent: 0 nothing, else the action. */
static guint
sent(const SamiFilter *filter, guint state, SamiAction action)
{
    SamiSession s = flow(IPPROTO_TCP, "10.0.0.13", "198.51.100.10", NULL, NULL);
    s.has |= SAMI_HAS_TCP;
    s.tcp_state = (guint8) state;
    return sami_filter_record(filter, &s, &action) ? action : 0;
}

static void
test_states(void)
{
    g_autoptr(SamiFilter) filter = make("", "", "", "established,close-wait", NULL);
    g_autoptr(SamiFilter) all = make("", "", "", "", NULL);
    const SamiAction created = SAMI_ACTION_CREATED, update = SAMI_ACTION_UPDATE, deleted = SAMI_ACTION_DELETED;
    /* the life of a flow as events tell it: silence, then it enters, goes, enters again */
    static const struct {
        guint state, sent;
    } life[] = { { NONE, 0 },
                 { SYN_SENT, 0 },
                 { SYN_SENT2, 0 },
                 { SYN_RECV, 0 },
                 { ESTABLISHED, SAMI_ACTION_UPDATE },
                 { FIN_WAIT, SAMI_ACTION_DELETED },
                 { CLOSE_WAIT, SAMI_ACTION_UPDATE },
                 { LAST_ACK, SAMI_ACTION_DELETED },
                 { TIME_WAIT, SAMI_ACTION_DELETED },
                 { CLOSE, SAMI_ACTION_DELETED } };
    for (guint i = 0; i < G_N_ELEMENTS(life); i++)
        CU_ASSERT_EQUAL(sent(filter, life[i].state, update), life[i].sent);
    /* its end: told to a peer that may have it, whatever state it died in */
    CU_ASSERT_EQUAL(sent(filter, ESTABLISHED, deleted), deleted);
    CU_ASSERT_EQUAL(sent(filter, TIME_WAIT, deleted), deleted);
    CU_ASSERT_EQUAL(sent(filter, SYN_RECV, deleted), 0);
    /* a dump names only what is wanted */
    CU_ASSERT_EQUAL(sent(filter, ESTABLISHED, created), created);
    CU_ASSERT_EQUAL(sent(filter, TIME_WAIT, created), 0);
    CU_ASSERT_EQUAL(sent(filter, SYN_SENT, created), 0);
    for (guint state = NONE; state <= SYN_SENT2; state++) {
        CU_ASSERT_EQUAL(sent(all, state, created), created);
        CU_ASSERT_EQUAL(sent(all, state, update), update);
        CU_ASSERT_EQUAL(sent(all, state, deleted), deleted);
    }
    /* other protocols have no such states */
    SamiSession s = flow(IPPROTO_UDP, "10.0.0.13", "198.51.100.10", NULL, NULL);
    SamiAction action = update;
    CU_ASSERT(sami_filter_record(filter, &s, &action) && action == update);
}

static void
test_equal(void)
{
    g_autoptr(SamiFilter) a = make("tcp", "10.0.0.0/24", "10.0.0.1", "established", NULL);
    g_autoptr(SamiFilter) same = make("tcp", "10.0.0.0/24", "10.0.0.1", "established", NULL);
    g_autoptr(SamiFilter) b = make("udp", "10.0.0.0/24", "10.0.0.1", "established", NULL);
    g_autoptr(SamiFilter) c = make("tcp", "10.0.0.0/24", "10.0.0.2", "established", NULL);
    g_autoptr(SamiFilter) d = make("tcp", "10.0.0.0/24", "10.0.0.1", "established,close", NULL);
    g_autoptr(SamiFilter) e = make("tcp", "", "10.0.0.1", "established", NULL);
    CU_ASSERT(sami_filter_equal(a, same));
    CU_ASSERT(!sami_filter_equal(a, b) && !sami_filter_equal(a, c) && !sami_filter_equal(a, d) && !sami_filter_equal(a, e));
    g_autoptr(GError) error = NULL;
    SamiFilter *bad = make("", "", "10.0.0.1/24", "", &error);
    CU_ASSERT_PTR_NULL(bad);
    CU_ASSERT(error && strstr(error->message, "fw2.example") && strstr(error->message, "replicate-ignore"));
}

/* Every word that the configuration lets through is one here, and each is another: an unknown one would let everything pass. */
static void
test_words(void)
{
    static const gchar *const keys[] = { "replicate-protocols", "replicate-states" };
    g_autoptr(SamiFilter) all = make("", "", "", "", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        const SamiKey *key = sami_key_find("peer", keys[i]);
        CU_ASSERT_FATAL(key && key->choices);
        g_auto(GStrv) words = list(key->choices);
        g_autoptr(GPtrArray) filters = g_ptr_array_new_with_free_func((GDestroyNotify) sami_filter_free);
        for (guint k = 0; words[k]; k++) {
            SamiFilter *filter = make(i == 0 ? words[k] : "", "", "", i == 1 ? words[k] : "", NULL);
            CU_ASSERT_PTR_NOT_NULL_FATAL(filter);
            CU_ASSERT(!sami_filter_equal(filter, all));
            for (guint m = 0; m < filters->len; m++)
                CU_ASSERT(!sami_filter_equal(filter, filters->pdata[m]));
            g_ptr_array_add(filters, filter);
        }
        CU_ASSERT_EQUAL(filters->len, i == 0 ? 4 : SYN_SENT2 + 1);
        g_autoptr(GError) error = NULL;
        CU_ASSERT_PTR_NULL(make(i == 0 ? "sctp" : "tcp", "", "", i == 1 ? "established,half-open" : "", &error));
        CU_ASSERT(error && strstr(error->message, keys[i]) && strstr(error->message, i == 0 ? "'sctp'" : "'half-open'"));
    }
}

static const SamiTest tests[] = { { "flows", test_flows }, { "states", test_states }, { "equal and wrong", test_equal }, { "words", test_words } };

int
main(void)
{
    return sami_test_main("replication filter", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
