/* Well-formed and well-signed, but nothing that this signer may bring, or that can be. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "tests/hostile/hostile.h"

static SamiAddress
address(const gchar *text)
{
    SamiPrefix prefix;
    if (!sami_prefix_parse(text, &prefix, NULL))
        die("%s is no address", text);
    return prefix.address;
}

static void
mirror(SamiSession *s)
{
    if (!sami_flow_key_mirror(&s->key, &s->reply))
        die("no mirror");
}

static void
set_remote(SamiSession *s, const gchar *text)
{
    s->key.family = strchr(text, ':') ? 6 : 4;
    s->key.orig.src = address(s->key.family == 6 ? "2001:db8:a::13" : "10.0.0.13");
    s->key.orig.dst = address(text);
    mirror(s);
}

static void other_vm(SamiSession *s) { s->key.orig.src = address("10.0.0.77"); mirror(s); }
static void between_others(SamiSession *s) { s->key.orig.src = address("203.0.113.1"); mirror(s); }
static void vm_translated(SamiSession *s)
{
    s->key.orig.src = address("203.0.113.1");
    s->key.orig.dst = address("10.0.0.13");
    mirror(s);
    s->reply.src = address("203.0.113.2");
}
static void snat_unlisted(SamiSession *s) { s->reply.dst = address("203.0.113.9"); }
static void dnat_unlisted(SamiSession *s)
{
    s->key.orig.src = address("198.51.100.10");
    s->key.orig.dst = address("203.0.113.9");
    mirror(s);
    s->reply.src = address("10.0.0.13");
}
static void to_loopback(SamiSession *s) { set_remote(s, "127.0.0.1"); }
static void to_this(SamiSession *s) { set_remote(s, "0.0.0.0"); }
static void to_link_local(SamiSession *s) { set_remote(s, "169.254.1.1"); }
static void to_multicast(SamiSession *s) { set_remote(s, "224.0.0.5"); }
static void to_broadcast(SamiSession *s) { set_remote(s, "255.255.255.255"); }
static void to_loopback6(SamiSession *s) { set_remote(s, "::1"); }
static void to_link_local6(SamiSession *s) { set_remote(s, "fe80::1"); }
static void to_multicast6(SamiSession *s) { set_remote(s, "ff02::1"); }
static void to_mapped(SamiSession *s) { set_remote(s, "::ffff:198.51.100.10"); }
static void snat_to_loopback(SamiSession *s) { s->reply.dst = address("127.0.0.1"); }
static void in_zone(SamiSession *s) { s->key.zone = 7; }
static void of_protocol(SamiSession *s, guint8 protocol, guint32 has)
{
    s->key.protocol = protocol;
    if (sami_protocol_selector(protocol) == SAMI_SELECTOR_NONE)
        s->key.orig.src_port = s->key.orig.dst_port = 0;
    mirror(s);
    s->has = (s->has & ~(guint32) SAMI_HAS_TCP) | has;
}
static void dccp(SamiSession *s) { of_protocol(s, IPPROTO_DCCP, SAMI_HAS_DCCP); }
static void protocol_0(SamiSession *s) { of_protocol(s, 0, 0); }
static void sctp_state(SamiSession *s) { of_protocol(s, IPPROTO_SCTP, SAMI_HAS_SCTP); s->sctp_state = SAMI_SCTP_STATE_MAX + 1; }
static void sctp_without_tags(SamiSession *s) { of_protocol(s, IPPROTO_SCTP, 0); }
static void udp_with_sctp(SamiSession *s) { of_protocol(s, IPPROTO_UDP, SAMI_HAS_SCTP); }
static void udp_with_seqadj(SamiSession *s) { of_protocol(s, IPPROTO_UDP, SAMI_HAS_SEQADJ); }
static void udp_with_synproxy(SamiSession *s) { of_protocol(s, IPPROTO_UDP, SAMI_HAS_SYNPROXY); }
static void helper_nameless(SamiSession *s) { s->has |= SAMI_HAS_HELPER; }
static void helper_endless(SamiSession *s) { s->has |= SAMI_HAS_HELPER; memset(s->helper, 'f', sizeof s->helper); }
static void helper_escape(SamiSession *s) { s->has |= SAMI_HAS_HELPER; memcpy(s->helper, "ftp\33[2J", 8); }
static void helper_and_more(SamiSession *s) { s->has |= SAMI_HAS_HELPER; memcpy(s->helper, "ftp\0x", 6); }
static void helper_info_only(SamiSession *s) { s->has |= SAMI_HAS_HELPER_INFO; }
static void own_master(SamiSession *s) { s->has |= SAMI_HAS_MASTER; s->master = s->key; }
static void two_zones(SamiSession *s) { s->has |= SAMI_HAS_REPLY_ZONE; s->reply_zone = 0; }
static void reply_zone(SamiSession *s) { s->has |= SAMI_HAS_REPLY_ZONE; s->reply_zone = 7; }
static void icmp_on_ipv6(SamiSession *s)
{
    s->key.protocol = IPPROTO_ICMP;
    s->key.family = 6;
    s->key.orig.src = address("2001:db8:a::13");
    s->key.orig.dst = address("2001:db8:c::10");
    s->key.orig.dst_port = 8 << 8;
    s->has &= ~(guint32) SAMI_HAS_TCP;
    mirror(s);
}
static void tcp_state(SamiSession *s) { s->tcp_state = SAMI_TCP_STATE_MAX + 1; }
static void window_scale(SamiSession *s) { s->has |= SAMI_HAS_WSCALE; s->tcp_wscale[1] = 15; }
static void no_time(SamiSession *s) { s->timeout_s = 0; }
static void too_much_time(SamiSession *s) { s->timeout_s = (guint32) G_MAXINT32 + 1u; }
static void action(SamiSession *s) { s->action = 9; }
static void udp_with_tcp(SamiSession *s) { s->key.protocol = IPPROTO_UDP; }
static void without_timeout(SamiSession *s) { s->has &= ~(guint32) SAMI_HAS_TIMEOUT; }
static void without_tcp(SamiSession *s) { s->has &= ~(guint32) SAMI_HAS_TCP; }

static void of_esp(SamiSession *s) { of_protocol(s, IPPROTO_ESP, 0); }
static void at_port(SamiSession *s) { s->key.orig.src_port = 60000; mirror(s); }
static void to_port(SamiSession *s)
{
    s->key.orig.src = address("198.51.100.10");
    s->key.orig.dst = address("10.0.0.13");
    s->key.orig.dst_port = 60000;
    mirror(s);
}
static void to_translated_port(SamiSession *s) { to_port(s); s->key.orig.dst_port = 80; } /* 60000 behind the translation */
static void to_own(SamiSession *s) { set_remote(s, "10.255.0.2"); }
static void from_own(SamiSession *s)
{
    s->key.orig.src = address("10.255.0.2");
    s->key.orig.dst = address("10.0.0.13");
    mirror(s);
}

static Client *
run_record(Client *c, const Case *self)
{
    SamiRecord record = { .session = honest_session() };
    self->change(&record.session);
    client_add(c, &record);
    client_send(c);
    record = (SamiRecord){ .kind = SAMI_RECORD_MARKER, .marker = { .marker = SAMI_MARKER_SNAPSHOT, .n_records = 1 } };
    client_add(c, &record);
    client_send(c);
    return c;
}

static void for_another_vm(SamiExpectation *e) { e->key.orig.dst = address("10.0.0.77"); }
static void from_anybody_else(SamiExpectation *e) { e->key.orig.src = address("198.51.100.99"); }
static void to_the_firewall(SamiExpectation *e) { e->key.orig.dst = address("203.0.113.9"); }
static void expected_on_loopback(SamiExpectation *e) { e->key.orig.dst = address("127.0.0.1"); }
static void translated_elsewhere(SamiExpectation *e)
{
    e->has |= SAMI_EXPECT_HAS_NAT;
    e->nat_address = address("10.0.0.77");
}
static void translated_to_loopback(SamiExpectation *e)
{
    e->has |= SAMI_EXPECT_HAS_NAT;
    e->nat_address = address("127.0.0.1");
}
static void half_a_mask(SamiExpectation *e) { e->mask_src.octets[3] = 0; }
static void mask_over_something(SamiExpectation *e) { memset(&e->mask_src, 0, 4); }
static void half_a_port(SamiExpectation *e) { e->mask_src_port = 0xff00; }
static void any_destination_port(SamiExpectation *e) { e->key.orig.dst_port = 0; }
static void for_ever(SamiExpectation *e) { e->flags = SAMI_EXPECT_PERMANENT; }
static void gre_from_anybody(SamiExpectation *e)
{
    e->key.protocol = IPPROTO_GRE;
    memset(&e->mask_src, 0, 4);
    memset(&e->key.orig.src, 0, 4);
}
static void all_ports(SamiExpectation *e) { e->key.protocol = IPPROTO_ESP; }
static void expected_icmp(SamiExpectation *e) { e->key.protocol = IPPROTO_ICMP; }
static void expected_in_zone(SamiExpectation *e) { e->key.zone = e->master.zone = 7; }
static void no_time_left(SamiExpectation *e) { e->timeout_s = 0; }
static void more_than_an_hour(SamiExpectation *e) { e->timeout_s = SAMI_EXPECT_TIMEOUT_MAX_S + 1; }
static void unknown_flag(SamiExpectation *e) { e->flags = 0x80; }
static void unknown_class(SamiExpectation *e) { e->expect_class = SAMI_EXPECT_CLASS_MAX + 1; }
static void unknown_direction(SamiExpectation *e) { e->has |= SAMI_EXPECT_HAS_NAT; e->nat_direction = 2; }
static void function_escape(SamiExpectation *e) { e->has |= SAMI_EXPECT_HAS_FUNCTION; memcpy(e->function, "a\33[2J", 6); }
static void expected_update(SamiExpectation *e) { e->action = SAMI_ACTION_UPDATE; }
static void of_nothing(SamiExpectation *e) { }
static void of_another_flow(SamiExpectation *e) { e->master.orig.src_port = 4001; } /* is there, and not of this migration */

static void expected_udplite(SamiExpectation *e) { e->key.protocol = IPPROTO_UDPLITE; }
static void expected_at_port(SamiExpectation *e) { e->key.orig.dst_port = 60000; }
static void expected_at_translated_port(SamiExpectation *e)
{
    e->key.orig.dst = address("192.0.2.9");
    e->has |= SAMI_EXPECT_HAS_NAT;
    e->nat_address = address("10.0.0.13");
    e->nat_port = 60000;
}
static void expected_from_own(SamiExpectation *e) { e->key.orig.src = address("10.255.0.2"); }
static void another_helper(SamiExpectation *e) { memcpy(e->helper, "tftp", 5); }
static void no_helper(SamiExpectation *e) { e->has &= ~(guint32) SAMI_EXPECT_HAS_HELPER; }
static void another_one(SamiExpectation *e) { e->key.orig.dst_port = 4001; }

/* One more than max-expectations. */
static Client *
run_expected_twice(Client *c, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_EXPECTATION, .expectation = honest_expectation() };
    client_add(c, &record);
    self->change_expected(&record.expectation);
    client_add(c, &record);
    client_send(c);
    record = (SamiRecord){ .kind = SAMI_RECORD_MARKER, .marker = { .marker = SAMI_MARKER_SNAPSHOT } };
    client_add(c, &record);
    client_send(c);
    return c;
}

static Client *
run_expected(Client *c, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_EXPECTATION, .expectation = honest_expectation() };
    self->change_expected(&record.expectation);
    client_add(c, &record);
    client_send(c);
    record = (SamiRecord){ .kind = SAMI_RECORD_MARKER, .marker = { .marker = SAMI_MARKER_SNAPSHOT } };
    client_add(c, &record);
    client_send(c);
    return c;
}

/* What only the ledger and the kernel can tell is looked at when everything is there. */
static Client *
run_expected_frozen(Client *c, const Case *self)
{
    SamiRecord record = { .kind = SAMI_RECORD_EXPECTATION, .expectation = honest_expectation() };
    self->change_expected(&record.expectation);
    client_add(c, &record);
    record = (SamiRecord){ .kind = SAMI_RECORD_MARKER, .marker = { .marker = SAMI_MARKER_FREEZE, .freeze_mode = SAMI_FREEZE_EVENTS } };
    client_add(c, &record);
    client_send(c);
    return c;
}

#define RECORD(name, change, reason) { name, STAGE_BEGUN, run_record, reason, 0, change, NULL }
#define EXPECTED(name, change, reason) { name, STAGE_BEGUN, run_expected, reason, 0, NULL, change }

const Case record_cases[] = {
    RECORD("flow-of-another-vm", other_vm, "address-not-allowed"),
    RECORD("flow-between-others", between_others, "address-not-allowed"),
    RECORD("vm-only-before-translation", vm_translated, "address-not-allowed"),
    RECORD("snat-address-not-listed", snat_unlisted, "nat-address"),
    RECORD("dnat-address-not-listed", dnat_unlisted, "nat-address"),
    RECORD("address-loopback", to_loopback, "address-special"),
    RECORD("address-unspecified", to_this, "address-special"),
    RECORD("address-link-local", to_link_local, "address-special"),
    RECORD("address-multicast", to_multicast, "address-special"),
    RECORD("address-broadcast", to_broadcast, "address-special"),
    RECORD("address-ipv6-loopback", to_loopback6, "address-special"),
    RECORD("address-ipv6-link-local", to_link_local6, "address-special"),
    RECORD("address-ipv6-multicast", to_multicast6, "address-special"),
    RECORD("address-ipv4-mapped", to_mapped, "address-special"),
    RECORD("snat-to-loopback", snat_to_loopback, "address-special"),
    RECORD("zone-not-allowed", in_zone, "zone-not-allowed"),
    RECORD("reply-zone-not-allowed", reply_zone, "zone-not-allowed"),
    RECORD("two-zones-the-same", two_zones, "state-range"),
    RECORD("protocol-unsupported", dccp, "protocol-unsupported"),
    RECORD("protocol-0", protocol_0, "protocol-unsupported"),
    RECORD("sctp-state-out-of-range", sctp_state, "state-range"),
    RECORD("sctp-tags-missing", sctp_without_tags, "field-missing"),
    RECORD("udp-with-sctp-state", udp_with_sctp, "state-range"),
    RECORD("udp-with-sequence-adjustment", udp_with_seqadj, "state-range"),
    RECORD("udp-with-synproxy", udp_with_synproxy, "state-range"),
    RECORD("helper-without-name", helper_nameless, "state-range"),
    RECORD("helper-name-without-end", helper_endless, "state-range"),
    RECORD("helper-name-with-escape", helper_escape, "state-range"),
    RECORD("helper-name-and-more", helper_and_more, "state-range"),
    RECORD("helper-info-without-helper", helper_info_only, "field-missing"),
    RECORD("own-master", own_master, "tuple-inconsistent"),
    RECORD("icmp-on-ipv6", icmp_on_ipv6, "tuple-inconsistent"),
    RECORD("tcp-state-out-of-range", tcp_state, "state-range"),
    RECORD("window-scale-out-of-range", window_scale, "state-range"),
    RECORD("timeout-0", no_time, "state-range"),
    RECORD("timeout-out-of-range", too_much_time, "state-range"),
    RECORD("action-unknown", action, "state-range"),
    RECORD("udp-with-tcp-state", udp_with_tcp, "state-range"),
    RECORD("timeout-missing", without_timeout, "field-missing"),
    RECORD("tcp-state-missing", without_tcp, "field-missing"),
    RECORD("protocol-not-allowed", of_esp, "protocol-not-allowed"),
    RECORD("port-not-allowed", at_port, "port-not-allowed"),
    RECORD("port-not-allowed-of-a-responder", to_port, "port-not-allowed"),
    RECORD("port-not-allowed-behind-a-translation", to_translated_port, "port-not-allowed"),
    RECORD("address-own-as-responder", to_own, "address-own"),
    RECORD("address-own-as-opener", from_own, "address-own"),
    EXPECTED("expected-protocol-not-allowed", expected_udplite, "protocol-not-allowed"),
    EXPECTED("expected-port-not-allowed", expected_at_port, "port-not-allowed"),
    EXPECTED("expected-port-not-allowed-behind-a-translation", expected_at_translated_port, "port-not-allowed"),
    EXPECTED("expected-from-the-firewall", expected_from_own, "address-own"),
    EXPECTED("expected-by-another-helper", another_helper, "helper-not-allowed"),
    EXPECTED("expected-by-a-nameless-helper", no_helper, "helper-not-allowed"),
    EXPECTED("expected-for-another-vm", for_another_vm, "address-not-allowed"),
    EXPECTED("expected-from-somebody-else", from_anybody_else, "address-not-allowed"),
    EXPECTED("expected-at-an-address-not-listed", to_the_firewall, "address-not-allowed"),
    EXPECTED("expected-on-loopback", expected_on_loopback, "address-special"),
    EXPECTED("expected-translated-to-another-vm", translated_elsewhere, "nat-address"),
    EXPECTED("expected-translated-to-loopback", translated_to_loopback, "address-special"),
    EXPECTED("expected-from-a-network", half_a_mask, "expectation-wide"),
    EXPECTED("expected-under-a-mask-of-nothing", mask_over_something, "expectation-wide"),
    EXPECTED("expected-from-some-ports", half_a_port, "expectation-wide"),
    EXPECTED("expected-at-any-port", any_destination_port, "expectation-wide"),
    EXPECTED("expected-for-ever", for_ever, "expectation-wide"),
    EXPECTED("expected-gre-from-anybody", gre_from_anybody, "expectation-wide"),
    EXPECTED("expected-protocol-without-ports", all_ports, "protocol-unsupported"),
    EXPECTED("expected-icmp", expected_icmp, "protocol-unsupported"),
    EXPECTED("expected-zone-not-allowed", expected_in_zone, "zone-not-allowed"),
    EXPECTED("expected-timeout-0", no_time_left, "state-range"),
    EXPECTED("expected-longer-than-an-hour", more_than_an_hour, "state-range"),
    EXPECTED("expected-flag-unknown", unknown_flag, "state-range"),
    EXPECTED("expected-class-unknown", unknown_class, "state-range"),
    EXPECTED("expected-direction-unknown", unknown_direction, "state-range"),
    EXPECTED("expected-function-with-escape", function_escape, "state-range"),
    EXPECTED("expected-action-update", expected_update, "state-range"),
    { "expected-by-no-flow", STAGE_BEGUN, run_expected_frozen, "expectation-master", 0, NULL, of_nothing },
    { "expected-by-a-flow-not-ours", STAGE_BEGUN, run_expected_frozen, "expectation-master", 0, NULL, of_another_flow },
    { "max-expectations", STAGE_BEGUN, run_expected_twice, "max-expectations", 0, NULL, another_one },
    { NULL, 0, NULL, NULL, 0, NULL, NULL },
};
