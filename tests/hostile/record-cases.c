/* Well-formed and well-signed, but nothing that this signer may bring, or that can be. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "tests/hostile/hostile.h"
#include "tests/tools/changes.h"

static void between_others(SamiSession *s) { s->key.orig.src = record_address("203.0.113.1"); record_mirror(s); }
static void to_this(SamiSession *s) { record_set_remote(s, "0.0.0.0"); }
static void to_link_local(SamiSession *s) { record_set_remote(s, "169.254.1.1"); }
static void to_broadcast(SamiSession *s) { record_set_remote(s, "255.255.255.255"); }
static void to_loopback6(SamiSession *s) { record_set_remote(s, "::1"); }
static void to_multicast6(SamiSession *s) { record_set_remote(s, "ff02::1"); }
static void to_mapped(SamiSession *s) { record_set_remote(s, "::ffff:198.51.100.10"); }
static void snat_to_loopback(SamiSession *s) { s->reply.dst = record_address("127.0.0.1"); }
static void in_zone(SamiSession *s) { s->key.zone = 7; }
static void protocol_0(SamiSession *s) { record_of_protocol(s, 0, 0); }
static void sctp_without_tags(SamiSession *s) { record_of_protocol(s, IPPROTO_SCTP, 0); }
static void udp_with_sctp(SamiSession *s) { record_of_protocol(s, IPPROTO_UDP, SAMI_HAS_SCTP); }
static void udp_with_seqadj(SamiSession *s) { record_of_protocol(s, IPPROTO_UDP, SAMI_HAS_SEQADJ); }
static void udp_with_synproxy(SamiSession *s) { record_of_protocol(s, IPPROTO_UDP, SAMI_HAS_SYNPROXY); }
static void helper_nameless(SamiSession *s) { s->has |= SAMI_HAS_HELPER; }
static void helper_endless(SamiSession *s) { s->has |= SAMI_HAS_HELPER; memset(s->helper, 'f', sizeof s->helper); }
static void helper_escape(SamiSession *s) { s->has |= SAMI_HAS_HELPER; memcpy(s->helper, "ftp\33[2J", 8); }
static void helper_c1(SamiSession *s) { s->has |= SAMI_HAS_HELPER; memcpy(s->helper, "ftp\302\233""2J", 8); }
static void helper_and_more(SamiSession *s) { s->has |= SAMI_HAS_HELPER; memcpy(s->helper, "ftp\0x", 6); }
static void helper_info_only(SamiSession *s) { s->has |= SAMI_HAS_HELPER_INFO; }
static void two_zones(SamiSession *s) { s->has |= SAMI_HAS_REPLY_ZONE; s->reply_zone = 0; }
static void reply_zone(SamiSession *s) { s->has |= SAMI_HAS_REPLY_ZONE; s->reply_zone = 7; }
static void icmp_on_ipv6(SamiSession *s)
{
    s->key.protocol = IPPROTO_ICMP;
    s->key.family = 6;
    s->key.orig.src = record_address("2001:db8:a::13");
    s->key.orig.dst = record_address("2001:db8:c::10");
    s->key.orig.dst_port = 8 << 8;
    s->has &= ~(guint32) SAMI_HAS_TCP;
    record_mirror(s);
}
static void too_much_time(SamiSession *s) { s->timeout_s = (guint32) G_MAXINT32 + 1u; }

static void of_esp(SamiSession *s) { record_of_protocol(s, IPPROTO_ESP, 0); }
static void at_port(SamiSession *s) { s->key.orig.src_port = 60000; record_mirror(s); }
static void to_port(SamiSession *s)
{
    s->key.orig.src = record_address("198.51.100.10");
    s->key.orig.dst = record_address("10.0.0.13");
    s->key.orig.dst_port = 60000;
    record_mirror(s);
}
static void to_translated_port(SamiSession *s) { to_port(s); s->key.orig.dst_port = 80; } /* 60000 behind the translation */
static void to_own(SamiSession *s) { record_set_remote(s, "10.255.0.2"); }
static void from_own(SamiSession *s)
{
    s->key.orig.src = record_address("10.255.0.2");
    s->key.orig.dst = record_address("10.0.0.13");
    record_mirror(s);
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

static void for_another_vm(SamiExpectation *e) { e->key.orig.dst = record_address("10.0.0.77"); }
static void from_anybody_else(SamiExpectation *e) { e->key.orig.src = record_address("198.51.100.99"); }
static void to_the_firewall(SamiExpectation *e) { e->key.orig.dst = record_address("203.0.113.9"); }
static void expected_on_loopback(SamiExpectation *e) { e->key.orig.dst = record_address("127.0.0.1"); }
static void translated_elsewhere(SamiExpectation *e)
{
    e->has |= SAMI_EXPECT_HAS_NAT;
    e->nat_address = record_address("10.0.0.77");
}
static void translated_to_loopback(SamiExpectation *e)
{
    e->has |= SAMI_EXPECT_HAS_NAT;
    e->nat_address = record_address("127.0.0.1");
}
static void mask_over_something(SamiExpectation *e) { memset(&e->mask_src, 0, 4); }
static void half_a_port(SamiExpectation *e) { e->mask_src_port = 0xff00; }
static void any_destination_port(SamiExpectation *e) { e->key.orig.dst_port = 0; }
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
    e->key.orig.dst = record_address("192.0.2.9");
    e->has |= SAMI_EXPECT_HAS_NAT;
    e->nat_address = record_address("10.0.0.13");
    e->nat_port = 60000;
    e->nat_direction = 1;
    e->has |= SAMI_EXPECT_HAS_FUNCTION;
    g_strlcpy(e->function, "nat-follow-master", sizeof e->function);
}
static void expected_from_own(SamiExpectation *e) { e->key.orig.src = record_address("10.255.0.2"); }
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
    RECORD("flow-of-another-vm", change_other_vm, "address-not-allowed"),
    RECORD("flow-between-others", between_others, "address-not-allowed"),
    RECORD("vm-only-before-translation", change_vm_translated, "address-not-allowed"),
    RECORD("snat-address-not-listed", change_snat_unlisted, "nat-address"),
    RECORD("dnat-address-not-listed", change_dnat_unlisted, "nat-address"),
    RECORD("address-loopback", change_to_loopback, "address-special"),
    RECORD("address-unspecified", to_this, "address-special"),
    RECORD("address-link-local", to_link_local, "address-special"),
    RECORD("address-multicast", change_to_multicast, "address-special"),
    RECORD("address-broadcast", to_broadcast, "address-special"),
    RECORD("address-ipv6-loopback", to_loopback6, "address-special"),
    RECORD("address-ipv6-link-local", change_to_link_local6, "address-special"),
    RECORD("address-ipv6-multicast", to_multicast6, "address-special"),
    RECORD("address-ipv4-mapped", to_mapped, "address-special"),
    RECORD("snat-to-loopback", snat_to_loopback, "address-special"),
    RECORD("zone-not-allowed", in_zone, "zone-not-allowed"),
    RECORD("reply-zone-not-allowed", reply_zone, "zone-not-allowed"),
    RECORD("two-zones-the-same", two_zones, "state-range"),
    RECORD("protocol-unsupported", change_dccp, "protocol-unsupported"),
    RECORD("protocol-0", protocol_0, "protocol-unsupported"),
    RECORD("sctp-state-out-of-range", change_sctp_state, "state-range"),
    RECORD("sctp-tags-missing", sctp_without_tags, "field-missing"),
    RECORD("udp-with-sctp-state", udp_with_sctp, "state-range"),
    RECORD("udp-with-sequence-adjustment", udp_with_seqadj, "state-range"),
    RECORD("udp-with-synproxy", udp_with_synproxy, "state-range"),
    RECORD("helper-without-name", helper_nameless, "state-range"),
    RECORD("helper-name-without-end", helper_endless, "state-range"),
    RECORD("helper-name-with-escape", helper_escape, "state-range"),
    RECORD("helper-name-with-c1-escape", helper_c1, "state-range"),
    RECORD("helper-name-and-more", helper_and_more, "state-range"),
    RECORD("helper-info-without-helper", helper_info_only, "field-missing"),
    RECORD("own-master", change_own_master, "tuple-inconsistent"),
    RECORD("icmp-on-ipv6", icmp_on_ipv6, "tuple-inconsistent"),
    RECORD("tcp-state-out-of-range", change_tcp_state, "state-range"),
    RECORD("window-scale-out-of-range", change_window_scale, "state-range"),
    RECORD("timeout-0", change_no_time, "state-range"),
    RECORD("timeout-out-of-range", too_much_time, "state-range"),
    RECORD("action-unknown", change_action, "state-range"),
    RECORD("udp-with-tcp-state", change_udp_with_tcp, "state-range"),
    RECORD("timeout-missing", change_without_timeout, "field-missing"),
    RECORD("tcp-state-missing", change_without_tcp, "field-missing"),
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
    EXPECTED("expected-from-a-network", change_half_a_mask, "expectation-wide"),
    EXPECTED("expected-under-a-mask-of-nothing", mask_over_something, "expectation-wide"),
    EXPECTED("expected-from-some-ports", half_a_port, "expectation-wide"),
    EXPECTED("expected-at-any-port", any_destination_port, "expectation-wide"),
    EXPECTED("expected-for-ever", change_for_ever, "expectation-wide"),
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

/* Expectations of a master that is honest, SNATed to a listed address, and has its helper; `change` may give it another translation. Each would let
 * somebody in to where the policy lets nobody in. */
static void from_anybody(SamiExpectation *e)
{
    memset(&e->key.orig.src, 0, sizeof e->key.orig.src);
    memset(&e->mask_src, 0, sizeof e->mask_src);
}
static void by_function(SamiExpectation *e, const gchar *name, guint8 direction, guint16 port)
{
    e->has |= SAMI_EXPECT_HAS_FUNCTION | SAMI_EXPECT_HAS_NAT;
    g_strlcpy(e->function, name, sizeof e->function);
    e->nat_direction = direction;
    e->nat_port = port;
}
static void anybody_to_the_remote(SamiExpectation *e) { from_anybody(e); e->key.orig.dst = e->master.orig.dst; }
static void remote_to_the_translated(SamiExpectation *e) { e->key.orig.dst = record_address("192.0.2.9"); }
static void anybody_to_the_translated(SamiExpectation *e) { remote_to_the_translated(e); from_anybody(e); }
static void said_to_be_for_the_vm(SamiExpectation *e) /* and goes to the master's other end */
{
    anybody_to_the_translated(e);
    by_function(e, "nat-follow-master", 0, 22);
    e->nat_address = record_address("10.0.0.13");
}
static void not_translated_at_all(SamiExpectation *e) /* no function does it */
{
    anybody_to_the_translated(e);
    e->has |= SAMI_EXPECT_HAS_NAT;
    e->nat_address = record_address("10.0.0.13");
    e->nat_direction = 1;
}
static void to_a_port_behind(SamiExpectation *e) { anybody_to_the_translated(e); by_function(e, "nat-follow-master", 1, 60000); }
static void away_from_the_remote(SamiExpectation *e) /* who wants to connect to it comes to the VM */
{
    anybody_to_the_remote(e);
    by_function(e, "nat-follow-master", 1, 4000);
}
static void by_an_unknown_function(SamiExpectation *e) { anybody_to_the_translated(e); by_function(e, "nat-somewhere", 1, 4000); }
static void as_it_should_be(SamiExpectation *e) { anybody_to_the_translated(e); by_function(e, "nat-follow-master", 1, 4000); }

#define AIMED(name, change, reason) { name, STAGE_BEGUN, NULL, reason, 0, NULL, change }
const Case aimed_cases[] = {
    AIMED("anybody-to-the-remote-end", anybody_to_the_remote, "address-not-allowed"),
    AIMED("remote-end-to-a-translated-address", remote_to_the_translated, "address-not-allowed"),
    AIMED("anybody-to-a-translated-address", anybody_to_the_translated, "address-not-allowed"),
    AIMED("translated-to-the-remote-end", said_to_be_for_the_vm, "address-not-allowed"),
    AIMED("translated-by-no-function", not_translated_at_all, "address-not-allowed"),
    AIMED("to-a-port-behind-the-translation", to_a_port_behind, "port-not-allowed"),
    AIMED("away-from-the-remote-end", away_from_the_remote, "nat-address"),
    AIMED("by-an-unknown-function", by_an_unknown_function, "expectation-function"),
    AIMED("as-a-helper-makes-it", as_it_should_be, NULL),
    { NULL, 0, NULL, NULL, 0, NULL, NULL },
};
