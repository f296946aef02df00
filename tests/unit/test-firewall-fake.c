/* The shared cases against the fake twin, and its hooks. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>

#include "firewall/fake.h"
#include "tests/unit/test-firewall.h"

SamiFirewall *
backend_new(void)
{
    return sami_firewall_fake_new(0);
}

SamiFirewall *
backend_share(SamiFirewall *firewall)
{
    return sami_firewall_fake_share(firewall);
}

gboolean
backend_has_nat(void)
{
    return TRUE;
}

gboolean
backend_has_labels(void)
{
    return TRUE;
}

static void
count_event(SamiEventKind kind, const SamiSession *session, gpointer user_data)
{
    ((guint *)user_data)[kind]++;
}

static void
test_capacity(void)
{
    g_autoptr(SamiFirewall) firewall = sami_firewall_fake_new(2);
    guint64 entries = 0, max = 0;
    for (guint16 i = 1; i <= 3; i++) {
        SamiSession s = test_session(IPPROTO_UDP, "10.0.0.1", i, "10.9.0.1", 53);
        CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &s), i <= 2 ? 0 : ENOMEM);
    }
    CU_ASSERT_TRUE(sami_firewall_headroom(firewall, &entries, &max, NULL));
    CU_ASSERT_EQUAL(entries, 2);
    CU_ASSERT_EQUAL(max, 2);
}

static void
test_packets(void)
{
    g_autoptr(SamiFirewall) firewall = sami_firewall_fake_new(0);
    g_autoptr(SamiFirewallEvents) events = sami_firewall_events_new(firewall, NULL);
    SamiSession s = test_session(IPPROTO_TCP, "10.0.0.1", 1, "10.9.0.1", 80), found;
    guint n[3] = {0};
    s.status &= ~SAMI_IPS_SEEN_REPLY;
    CU_ASSERT_FALSE(sami_firewall_fake_touch(firewall, &s.key, 0, 100));
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &s), 0);
    CU_ASSERT_TRUE(sami_firewall_fake_touch(firewall, &s.key, 0, 100));
    CU_ASSERT_TRUE(sami_firewall_fake_touch(firewall, &s.key, 1, 50));
    CU_ASSERT_TRUE(sami_firewall_fake_touch(firewall, &s.key, 1, 50));
    CU_ASSERT_TRUE(test_get(firewall, &s.key, &found));
    CU_ASSERT_EQUAL(found.packets[0], 1);
    CU_ASSERT_EQUAL(found.packets[1], 2);
    CU_ASSERT_EQUAL(found.octets[1], 100);
    CU_ASSERT_TRUE(found.status & SAMI_IPS_SEEN_REPLY);
    CU_ASSERT_EQUAL(found.timeout_s, 432000);
    CU_ASSERT_TRUE(sami_firewall_fake_set_state(firewall, &s.key, 7));
    CU_ASSERT_TRUE(test_get(firewall, &s.key, &found));
    CU_ASSERT_EQUAL(found.tcp_state, 7);
    CU_ASSERT_TRUE(sami_firewall_events_barrier(events, count_event, n, NULL));
    CU_ASSERT_EQUAL(n[SAMI_EVENT_NEW], 0); /* our own */
    CU_ASSERT_EQUAL(n[SAMI_EVENT_UPDATE], 2);
}

static void
test_time(void)
{
    g_autoptr(SamiFirewall) firewall = sami_firewall_fake_new(0);
    g_autoptr(SamiFirewallEvents) events = sami_firewall_events_new(firewall, NULL);
    SamiSession a = test_session(IPPROTO_UDP, "10.0.0.1", 1, "10.9.0.1", 53), b = a, found;
    guint n[3] = {0};
    b.key.orig.src_port = b.reply.dst_port = 2;
    b.timeout_s = 2000;
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &a), 0);
    CU_ASSERT_EQUAL(test_apply(firewall, SAMI_OP_CREATE, &b), 0);
    sami_firewall_fake_age(firewall, 999);
    CU_ASSERT_TRUE(test_get(firewall, &a.key, &found));
    CU_ASSERT_EQUAL(found.timeout_s, 1);
    sami_firewall_fake_age(firewall, 1);
    CU_ASSERT_FALSE(test_get(firewall, &a.key, &found));
    CU_ASSERT_TRUE(test_get(firewall, &b.key, &found));
    CU_ASSERT_EQUAL(found.timeout_s, 1000);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(firewall, &b.key));
    CU_ASSERT_FALSE(sami_firewall_fake_delete(firewall, &b.key));
    CU_ASSERT_TRUE(sami_firewall_events_read(events, 10, count_event, n, NULL));
    CU_ASSERT_EQUAL(n[SAMI_EVENT_DESTROY], 2);
}

static void
test_overrun(void)
{
    g_autoptr(SamiFirewall) firewall = sami_firewall_fake_new(0);
    g_autoptr(SamiFirewall) other = sami_firewall_fake_share(firewall);
    g_autoptr(SamiFirewallEvents) events = sami_firewall_events_new(firewall, NULL);
    SamiSession s = test_session(IPPROTO_UDP, "10.0.0.1", 1, "10.9.0.1", 53);
    struct pollfd pollfd = {sami_firewall_events_fd(events), POLLIN, 0};
    guint n[3] = {0};
    for (guint i = 0; i < 2; i++) {
        g_autoptr(GError) error = NULL;
        sami_firewall_fake_overrun(firewall);
        CU_ASSERT_EQUAL(poll(&pollfd, 1, 0), 1);
        CU_ASSERT_FALSE(i == 0 ? sami_firewall_events_read(events, 10, count_event, n, &error)
                               : sami_firewall_events_barrier(events, count_event, n, &error));
        CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_OVERRUN));
        CU_ASSERT_EQUAL(poll(&pollfd, 1, 0), 0);
    }
    CU_ASSERT_EQUAL(test_apply(other, SAMI_OP_CREATE, &s), 0); /* usable again */
    CU_ASSERT_TRUE(sami_firewall_events_barrier(events, count_event, n, NULL));
    CU_ASSERT_EQUAL(n[SAMI_EVENT_NEW], 1);
}

int
main(void)
{
    static const SamiTest own[] = {
        {"capacity", test_capacity},
        {"packets", test_packets},
        {"time", test_time},
        {"overrun", test_overrun},
    };
    return test_firewall_main("firewall: fake", own, G_N_ELEMENTS(own));
}
