#include "tests/tools/changes.h"

#include <netinet/in.h>
#include <string.h>

SamiAddress
record_address(const gchar *text)
{
    SamiPrefix prefix;
    if (!sami_prefix_parse(text, &prefix, NULL))
        g_error("%s is no address", text);
    return prefix.address;
}

void
record_mirror(SamiSession *s)
{
    if (!sami_flow_key_mirror(&s->key, &s->reply))
        g_error("no mirror");
}

void
record_set_remote(SamiSession *s, const gchar *text)
{
    s->key.family = strchr(text, ':') ? 6 : 4;
    s->key.orig.src = record_address(s->key.family == 6 ? "2001:db8:a::13" : "10.0.0.13");
    s->key.orig.dst = record_address(text);
    record_mirror(s);
}

void
record_of_protocol(SamiSession *s, guint8 protocol, guint32 has)
{
    s->key.protocol = protocol;
    if (sami_protocol_selector(protocol) == SAMI_SELECTOR_NONE)
        s->key.orig.src_port = s->key.orig.dst_port = 0;
    record_mirror(s);
    s->has = (s->has & ~(guint32) SAMI_HAS_TCP) | has;
}

void change_other_vm(SamiSession *s) { s->key.orig.src = record_address("10.0.0.77"); record_mirror(s); }
void change_vm_translated(SamiSession *s)
{
    s->key.orig.src = record_address("203.0.113.1");
    s->key.orig.dst = record_address("10.0.0.13");
    record_mirror(s);
    s->reply.src = record_address("203.0.113.2");
}
void change_snat_unlisted(SamiSession *s) { s->reply.dst = record_address("203.0.113.9"); }
void change_dnat_unlisted(SamiSession *s)
{
    s->key.orig.src = record_address("198.51.100.10");
    s->key.orig.dst = record_address("203.0.113.9");
    record_mirror(s);
    s->reply.src = record_address("10.0.0.13");
}
void change_to_loopback(SamiSession *s) { record_set_remote(s, "127.0.0.1"); }
void change_to_multicast(SamiSession *s) { record_set_remote(s, "224.0.0.5"); }
void change_to_link_local6(SamiSession *s) { record_set_remote(s, "fe80::1"); }
void change_own_master(SamiSession *s) { s->has |= SAMI_HAS_MASTER; s->master = s->key; }
void change_tcp_state(SamiSession *s) { s->tcp_state = SAMI_TCP_STATE_MAX + 1; }
void change_sctp_state(SamiSession *s) { record_of_protocol(s, IPPROTO_SCTP, SAMI_HAS_SCTP); s->sctp_state = SAMI_SCTP_STATE_MAX + 1; }
void change_no_time(SamiSession *s) { s->timeout_s = 0; }
void change_window_scale(SamiSession *s) { s->has |= SAMI_HAS_WSCALE; s->tcp_wscale[1] = 15; }
void change_udp_with_tcp(SamiSession *s) { s->key.protocol = IPPROTO_UDP; }
void change_action(SamiSession *s) { s->action = 9; }
void change_without_timeout(SamiSession *s) { s->has &= ~(guint32) SAMI_HAS_TIMEOUT; }
void change_without_tcp(SamiSession *s) { s->has &= ~(guint32) SAMI_HAS_TCP; }
void change_dccp(SamiSession *s) { record_of_protocol(s, IPPROTO_DCCP, SAMI_HAS_DCCP); }
void change_half_a_mask(SamiExpectation *e) { e->mask_src.octets[3] = 0; }
void change_for_ever(SamiExpectation *e) { e->flags = SAMI_EXPECT_PERMANENT; }
