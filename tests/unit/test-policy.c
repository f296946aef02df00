/* Each rule of a signer's policy, and what of it a record may be without: one row a case, that is refused, and one beside it that is not. */
#include <netinet/in.h>
#include <string.h>

#include "collector/rate.h"
#include "common/value.h"
#include "templates/validate.h"
#include "tests/unit/harness.h"

#define VM "10.0.0.13"
#define REMOTE "198.51.100.10"
#define NAT "192.0.2.1"
#define OWN "203.0.113.1"
#define OWN_NAT "203.0.113.2" /* which nat-addresses lists */

static SamiAddress
address(const gchar *text)
{
    SamiPrefix prefix = { 0 };
    CU_ASSERT_TRUE(sami_prefix_parse(text, &prefix, NULL));
    return prefix.address;
}

static SamiSession
session(guint8 protocol, const gchar *src, guint16 src_port, const gchar *dst, guint16 dst_port)
{
    SamiSession s = { .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_REPLY, .action = SAMI_ACTION_CREATED, .timeout_s = 20,
                      .status = SAMI_IPS_SEEN_REPLY | SAMI_IPS_CONFIRMED };
    gboolean has_ports = sami_protocol_selector(protocol) != SAMI_SELECTOR_NONE;
    s.key = (SamiFlowKey){ .family = strchr(src, ':') ? 6 : 4, .protocol = protocol };
    s.key.orig = (SamiTuple){ address(src), address(dst), has_ports ? src_port : 0, has_ports ? dst_port : 0 };
    if (protocol == IPPROTO_TCP)
        s.has |= SAMI_HAS_TCP;
    s.tcp_state = SAMI_TCP_STATE_ESTABLISHED;
    CU_ASSERT_TRUE(sami_flow_key_mirror(&s.key, &s.reply));
    return s;
}

/* A policy with every rule, and room for what it points to. */
typedef struct {
    SamiPolicy policy;
    SamiPrefix vm[2], nat[2];
    guint16 zone;
    guint32 protocols[SAMI_POLICY_BITS(256)];
    guint32 ports[SAMI_POLICY_BITS(65536)], remote_ports[SAMI_POLICY_BITS(65536)];
    SamiTimeouts timeouts;
} Rules;

static Rules *rules;

static int
set_up(void)
{
    static const gchar *const helpers[] = { "ftp", NULL };
    SamiPrefix own[3];
    rules = g_new0(Rules, 1);
    sami_prefix_parse("10.0.0.0/24", &rules->vm[0], NULL);
    sami_prefix_parse("2001:db8:a::/64", &rules->vm[1], NULL);
    sami_prefix_parse(NAT, &rules->nat[0], NULL);
    sami_prefix_parse(OWN_NAT, &rules->nat[1], NULL);
    SAMI_POLICY_SET(rules->protocols, IPPROTO_TCP);
    SAMI_POLICY_SET(rules->protocols, IPPROTO_UDP);
    SAMI_POLICY_SET(rules->ports, 80);
    SAMI_POLICY_SET(rules->ports, 1000);
    SAMI_POLICY_SET(rules->ports, 65535);
    SAMI_POLICY_SET(rules->remote_ports, 443);
    SAMI_POLICY_SET(rules->remote_ports, 5000);
    rules->timeouts = (SamiTimeouts){ .tcp = { [3] = 1000, [4] = 100 }, .udp = 30, .udp_stream = 120 };
    rules->policy = (SamiPolicy){ .vm = rules->vm, .n_vm = 2, .nat_addresses = rules->nat, .n_nat_addresses = 2, .zones = &rules->zone, .n_zones = 1,
                                  .may_help = TRUE, .protocols = rules->protocols, .ports = rules->ports, .remote_ports = rules->remote_ports,
                                  .helpers = helpers, .mark_cut = 0xff00, .labels_cut = { 0xf0 }, .own = sami_address_set_new(), .timeouts = &rules->timeouts };
    sami_prefix_parse(OWN, &own[0], NULL);
    sami_prefix_parse(OWN_NAT, &own[1], NULL);
    sami_prefix_parse("10.0.0.1", &own[2], NULL); /* a gateway inside the VM's prefix */
    sami_address_set_replace((SamiAddressSet *) rules->policy.own, own, 3);
    return 0;
}

static int
tear_down(void)
{
    sami_address_set_free((SamiAddressSet *) rules->policy.own);
    g_free(rules);
    return 0;
}

static SamiReason
judge(const SamiSession *s)
{
    return sami_validate_session(s, &rules->policy);
}

static void
test_sessions(void)
{
    static const struct {
        guint8 protocol;
        const gchar *src;
        guint16 src_port;
        const gchar *dst;
        guint16 dst_port;
        SamiReason reason;
    } rows[] = {
        { IPPROTO_TCP, VM, 1000, REMOTE, 443, SAMI_REASON_NONE },
        { IPPROTO_UDP, REMOTE, 5000, VM, 80, SAMI_REASON_NONE },
        { IPPROTO_TCP, VM, 65535, REMOTE, 443, SAMI_REASON_NONE },
        { IPPROTO_ICMP, VM, 7, REMOTE, 8 << 8, SAMI_REASON_PROTOCOL_NOT_ALLOWED },
        { IPPROTO_ESP, VM, 0, REMOTE, 0, SAMI_REASON_PROTOCOL_NOT_ALLOWED },
        { IPPROTO_TCP, VM, 1001, REMOTE, 443, SAMI_REASON_PORT_NOT_ALLOWED },
        { IPPROTO_TCP, VM, 443, REMOTE, 443, SAMI_REASON_PORT_NOT_ALLOWED },  /* the other end's list is not the VM's */
        { IPPROTO_TCP, VM, 1000, REMOTE, 80, SAMI_REASON_PORT_NOT_ALLOWED },
        { IPPROTO_TCP, REMOTE, 5000, VM, 22, SAMI_REASON_PORT_NOT_ALLOWED },
        { IPPROTO_TCP, VM, 22, REMOTE, 5000, SAMI_REASON_PORT_NOT_ALLOWED },  /* whoever is said to have opened it */
        { IPPROTO_TCP, REMOTE, 5001, VM, 80, SAMI_REASON_PORT_NOT_ALLOWED },
        { IPPROTO_TCP, VM, 1000, "10.0.0.14", 80, SAMI_REASON_NONE },         /* both ends are VMs */
        { IPPROTO_TCP, VM, 1000, "10.0.0.14", 443, SAMI_REASON_PORT_NOT_ALLOWED },
        { IPPROTO_TCP, VM, 1000, OWN, 443, SAMI_REASON_ADDRESS_OWN },
        { IPPROTO_TCP, OWN, 5000, VM, 80, SAMI_REASON_ADDRESS_OWN },
        { IPPROTO_TCP, VM, 1000, OWN_NAT, 443, SAMI_REASON_ADDRESS_OWN },     /* listed, but no translated one here */
        { IPPROTO_TCP, "10.0.0.1", 1000, REMOTE, 443, SAMI_REASON_ADDRESS_OWN },
        { IPPROTO_TCP, VM, 1000, "127.0.0.1", 443, SAMI_REASON_ADDRESS_SPECIAL },
        { IPPROTO_TCP, VM, 1000, "169.254.1.1", 443, SAMI_REASON_ADDRESS_SPECIAL },
        { IPPROTO_TCP, VM, 1000, "239.0.0.1", 443, SAMI_REASON_ADDRESS_SPECIAL },
        { IPPROTO_TCP, VM, 1000, "255.255.255.255", 443, SAMI_REASON_ADDRESS_SPECIAL },
        { IPPROTO_TCP, VM, 1000, "0.1.2.3", 443, SAMI_REASON_ADDRESS_SPECIAL },
        { IPPROTO_TCP, VM, 1000, "169.253.1.1", 443, SAMI_REASON_NONE },
        { IPPROTO_TCP, VM, 1000, "223.255.255.255", 443, SAMI_REASON_NONE },
        { IPPROTO_TCP, "2001:db8:a::13", 1000, "2001:db8:c::1", 443, SAMI_REASON_NONE },
        { IPPROTO_TCP, "2001:db8:a::13", 1000, "64:ff9b::1", 443, SAMI_REASON_NONE },
        { IPPROTO_TCP, "2001:db8:a::13", 1000, "::5", 443, SAMI_REASON_NONE },
        { IPPROTO_TCP, "2001:db8:a::13", 1000, "::1", 443, SAMI_REASON_ADDRESS_SPECIAL },
        { IPPROTO_TCP, "2001:db8:a::13", 1000, "::", 443, SAMI_REASON_ADDRESS_SPECIAL },
        { IPPROTO_TCP, "2001:db8:a::13", 1000, "::ffff:198.51.100.10", 443, SAMI_REASON_ADDRESS_SPECIAL },
        { IPPROTO_TCP, "2001:db8:a::13", 1000, "fe80::1", 443, SAMI_REASON_ADDRESS_SPECIAL },
        { IPPROTO_TCP, "2001:db8:a::13", 1000, "fec0::1", 443, SAMI_REASON_NONE },
        { IPPROTO_TCP, "2001:db8:a::13", 1000, "ff0e::1", 443, SAMI_REASON_ADDRESS_SPECIAL },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        SamiSession s = session(rows[i].protocol, rows[i].src, rows[i].src_port, rows[i].dst, rows[i].dst_port);
        SamiReason reason = judge(&s);
        if (reason != rows[i].reason)
            g_print("row %u: %s, not %s\n", i, sami_reason_id(reason), sami_reason_id(rows[i].reason));
        CU_ASSERT_EQUAL(reason, rows[i].reason);
        s.action = SAMI_ACTION_DELETED; /* names an entry, whatever it was: the ledger decides */
        s.has = 0;
        CU_ASSERT_TRUE(judge(&s) == SAMI_REASON_NONE || judge(&s) == SAMI_REASON_ADDRESS_SPECIAL);
    }
}

/* The port behind a translation is what is opened, and an own address may be what is translated onto. */
static void
test_translated(void)
{
    SamiSession s = session(IPPROTO_TCP, REMOTE, 5000, OWN_NAT, 22);
    s.reply.src = address(VM);
    s.reply.src_port = 80;
    CU_ASSERT_EQUAL(judge(&s), SAMI_REASON_NONE);
    s.reply.src_port = 22;
    CU_ASSERT_EQUAL(judge(&s), SAMI_REASON_PORT_NOT_ALLOWED);
    s = session(IPPROTO_TCP, VM, 1000, REMOTE, 443);
    s.reply.dst = address(OWN_NAT);
    s.reply.dst_port = 22;
    CU_ASSERT_EQUAL(judge(&s), SAMI_REASON_NONE);
    s.reply.dst = address(OWN);
    CU_ASSERT_EQUAL(judge(&s), SAMI_REASON_NAT_ADDRESS);
}

/* Of a flow in one direction's zone only, both zones have to be the signer's; in an unscoped replication any. */
static void
test_reply_zone(void)
{
    SamiSession s = session(IPPROTO_TCP, VM, 1000, REMOTE, 443);
    const guint16 both[] = { 0, 7 };
    s.has |= SAMI_HAS_REPLY_ZONE;
    s.reply_zone = 7;
    CU_ASSERT_EQUAL(judge(&s), SAMI_REASON_ZONE_NOT_ALLOWED);
    rules->policy.zones = both;
    rules->policy.n_zones = 2;
    CU_ASSERT_EQUAL(judge(&s), SAMI_REASON_NONE);
    rules->policy.zones = &rules->zone;
    rules->policy.n_zones = 1;
    rules->policy.any_segment = TRUE;
    CU_ASSERT_EQUAL(judge(&s), SAMI_REASON_NONE);
    rules->policy.any_segment = FALSE;
}

static void
test_special(void)
{
    static const struct {
        guint8 bit;
        const gchar *address;
    } rows[] = { { SAMI_SPECIAL_OWN, OWN }, { SAMI_SPECIAL_LOOPBACK, "127.0.0.1" }, { SAMI_SPECIAL_LINK_LOCAL, "169.254.1.1" },
                 { SAMI_SPECIAL_MULTICAST, "224.0.0.251" } };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        for (guint k = 0; k < G_N_ELEMENTS(rows); k++) {
            SamiSession s = session(IPPROTO_TCP, VM, 1000, rows[i].address, 443);
            rules->policy.special = rows[k].bit;
            CU_ASSERT_EQUAL(judge(&s) == SAMI_REASON_NONE, i == k);
        }
    rules->policy.special = 0xff;
    SamiSession never = session(IPPROTO_TCP, VM, 1000, "240.0.0.1", 443);
    CU_ASSERT_EQUAL(judge(&never), SAMI_REASON_NONE); /* a bit that no word has; */
    rules->policy.special = SAMI_SPECIAL_OWN | SAMI_SPECIAL_LOOPBACK | SAMI_SPECIAL_LINK_LOCAL | SAMI_SPECIAL_MULTICAST;
    CU_ASSERT_EQUAL(judge(&never), SAMI_REASON_ADDRESS_SPECIAL); /* all words together do not let it in */
    rules->policy.special = 0;
}

static void
test_strip(void)
{
    SamiSession s = session(IPPROTO_TCP, VM, 1000, REMOTE, 443);
    s.has |= SAMI_HAS_MARK | SAMI_HAS_HELPER;
    s.mark = 0x00f0;
    memcpy(s.helper, "ftp", 4);
    s.timeout_s = 1000;
    CU_ASSERT_EQUAL(sami_policy_strip(&rules->policy, &s), 0);
    s.mark = 0x12f0;
    memcpy(s.helper, "tftp", 5);
    s.timeout_s = 1001;
    s.status |= SAMI_IPS_FIXED_TIMEOUT;
    CU_ASSERT_EQUAL(sami_policy_strip(&rules->policy, &s), SAMI_HAS_MARK | SAMI_HAS_HELPER | SAMI_HAS_TIMEOUT);
    CU_ASSERT_EQUAL(s.mark, 0xf0);
    CU_ASSERT_FALSE(s.has & SAMI_HAS_HELPER);
    CU_ASSERT_EQUAL(s.timeout_s, 1000);
    CU_ASSERT_FALSE(s.status & SAMI_IPS_FIXED_TIMEOUT); /* it would end the flow under its packets */
    CU_ASSERT_EQUAL(sami_policy_strip(&rules->policy, &s), 0);
    s.status |= SAMI_IPS_FIXED_TIMEOUT; /* one that is not too long stays fixed */
    CU_ASSERT_EQUAL(sami_policy_strip(&rules->policy, &s), 0);
    CU_ASSERT_TRUE(s.status & SAMI_IPS_FIXED_TIMEOUT);
    s.has |= SAMI_HAS_LABELS;
    s.labels[0] = 0x0c;
    s.labels[15] = 0x80;
    CU_ASSERT_EQUAL(sami_policy_strip(&rules->policy, &s), 0);
    s.labels[0] = 0x3c;
    CU_ASSERT_EQUAL(sami_policy_strip(&rules->policy, &s), SAMI_HAS_LABELS);
    CU_ASSERT_TRUE((s.has & SAMI_HAS_LABELS) && s.labels[0] == 0x0c && s.labels[15] == 0x80);
    s.labels[0] = 0x30;
    s.labels[15] = 0;
    CU_ASSERT_EQUAL(sami_policy_strip(&rules->policy, &s), SAMI_HAS_LABELS);
    CU_ASSERT_FALSE(s.has & SAMI_HAS_LABELS); /* none is left */
    SamiPolicy none = { .may_help = TRUE };
    s.has |= SAMI_HAS_HELPER;
    memcpy(s.helper, "sip", 4);
    CU_ASSERT_EQUAL(sami_policy_strip(&none, &s), 0);
    memcpy(s.helper, "Q.931", 6); /* has to be named */
    CU_ASSERT_EQUAL(sami_policy_strip(&none, &s), SAMI_HAS_HELPER);
    none.helpers = (const gchar *const[]){ "Q.931", NULL };
    s.has |= SAMI_HAS_HELPER;
    CU_ASSERT_EQUAL(sami_policy_strip(&none, &s), 0);
    none = (SamiPolicy){ 0 };
    s.mark = s.timeout_s = G_MAXINT32;
    CU_ASSERT_EQUAL(sami_policy_strip(&none, &s), SAMI_HAS_HELPER); /* may_help */
}

static void
test_timeouts(void)
{
    const SamiTimeouts t = { .tcp = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, .sctp = { 11, 12, 13, 14, 15, 16, 17, 18, 19 }, .udp = 20, .udp_stream = 30,
                             .icmp = 40, .icmpv6 = 50, .gre = 60, .gre_stream = 70, .generic = 80 }, unknown = { 0 };
    static const struct {
        guint8 protocol, state;
        gboolean is_answered;
        const gchar *helper;
        guint16 port;
        guint32 max_s;
    } rows[] = {
        { IPPROTO_TCP, 0, TRUE, NULL, 1, 1 },      { IPPROTO_TCP, 3, TRUE, NULL, 1, 4 },          { IPPROTO_TCP, 9, TRUE, NULL, 1, 10 },
        { IPPROTO_TCP, 10, TRUE, NULL, 1, 0 },     { IPPROTO_SCTP, 4, TRUE, NULL, 1, 15 },        { IPPROTO_SCTP, 9, TRUE, NULL, 1, 0 },
        { IPPROTO_UDP, 0, FALSE, NULL, 1, 20 },    { IPPROTO_UDP, 0, TRUE, NULL, 1, 30 },         { IPPROTO_UDPLITE, 0, TRUE, NULL, 1, 30 },
        { IPPROTO_ICMP, 0, TRUE, NULL, 1, 40 },    { IPPROTO_ICMPV6, 0, TRUE, NULL, 1, 50 },      { IPPROTO_GRE, 0, FALSE, NULL, 0, 60 },
        { IPPROTO_GRE, 0, TRUE, NULL, 0, 70 },     { IPPROTO_GRE, 0, TRUE, NULL, 1, 18000 },      { IPPROTO_ESP, 0, TRUE, NULL, 0, 80 },
        { IPPROTO_UDP, 0, TRUE, "sip", 1, 3600 },  { IPPROTO_UDP, 0, TRUE, "sip-20", 1, 30 },     { IPPROTO_UDP, 0, TRUE, "tftp", 1, 30 },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        SamiSession s = { .key = { .protocol = rows[i].protocol, .orig = { .src_port = rows[i].port } }, .tcp_state = rows[i].state,
                          .sctp_state = rows[i].state, .status = rows[i].is_answered ? SAMI_IPS_SEEN_REPLY : 0 };
        if (rows[i].helper) {
            s.has |= SAMI_HAS_HELPER;
            g_strlcpy(s.helper, rows[i].helper, sizeof s.helper);
        }
        CU_ASSERT_EQUAL(sami_timeouts_max(&t, &s), rows[i].max_s);
        CU_ASSERT_EQUAL(sami_timeouts_max(&unknown, &s), 0);
    }
}

static SamiExpectation
expectation(void)
{
    SamiSession master = session(IPPROTO_TCP, VM, 1000, REMOTE, 443);
    SamiExpectation e = { .key = master.key, .master = master.key, .action = SAMI_ACTION_CREATED, .timeout_s = 100, .has = SAMI_EXPECT_HAS_HELPER,
                          .helper = "ftp" };
    e.key.orig = (SamiTuple){ address(REMOTE), address(VM), 5000, 80 };
    memset(&e.mask_src, 0xff, 4);
    e.mask_src_port = G_MAXUINT16;
    return e;
}

static void
test_expectations(void)
{
    SamiExpectation e = expectation();
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_NONE);
    e.key.orig.dst_port = 22;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_PORT_NOT_ALLOWED);
    e = expectation();
    e.key.orig.src_port = 5001;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_PORT_NOT_ALLOWED);
    e = expectation(); /* from any port: where not all are allowed, it is not */
    e.key.orig.src_port = e.mask_src_port = 0;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_PORT_NOT_ALLOWED);
    rules->policy.remote_ports = NULL;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_NONE);
    rules->policy.remote_ports = rules->remote_ports;
    e = expectation(); /* the VM opens it, from any port */
    e.key.orig = (SamiTuple){ address(VM), address(REMOTE), 0, 443 };
    e.mask_src_port = 0;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_NONE);
    e.key.orig.dst_port = 25;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_PORT_NOT_ALLOWED);
    e.key.orig = (SamiTuple){ address(VM), address(REMOTE), 22, 443 }; /* from a port that it may not */
    e.mask_src_port = G_MAXUINT16;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_PORT_NOT_ALLOWED);
    e.key.orig.src_port = 80;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_NONE);
    e = expectation(); /* at a translated address: the port behind it counts */
    e.key.orig.dst = address(NAT);
    e.key.orig.dst_port = 22;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_ADDRESS_NOT_ALLOWED);
    e.has |= SAMI_EXPECT_HAS_NAT;
    e.nat_address = address(VM);
    e.nat_port = 80;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_ADDRESS_NOT_ALLOWED); /* without a function nothing translates it */
    e.has |= SAMI_EXPECT_HAS_FUNCTION;
    strncpy(e.function, "sip", sizeof e.function);
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_NONE);
    e.key.orig.dst = address(REMOTE); /* nobody's to give to the VM */
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_NAT_ADDRESS);
    e.key.orig.dst = address(NAT);
    strncpy(e.function, "nat-follow-master", sizeof e.function); /* whatever it says of an address */
    e.nat_address = address(REMOTE);
    e.nat_direction = 1;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_NONE);
    strncpy(e.function, "nat-somewhere", sizeof e.function);
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_EXPECTATION_FUNCTION);
    strncpy(e.function, "nat-follow-master", sizeof e.function);
    e.nat_port = 22;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_PORT_NOT_ALLOWED);
    e = expectation(); /* neither end of it is the VM */
    e.key.orig.src_port = e.mask_src_port = 0;
    memset(&e.key.orig.src, 0, sizeof e.key.orig.src);
    memset(&e.mask_src, 0, sizeof e.mask_src);
    e.key.orig.dst = address(REMOTE);
    rules->policy.remote_ports = NULL;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_ADDRESS_NOT_ALLOWED);
    rules->policy.remote_ports = rules->remote_ports;
    e = expectation();
    memcpy(e.helper, "tftp", 5);
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_HELPER_NOT_ALLOWED);
    e.has &= ~(guint32) SAMI_EXPECT_HAS_HELPER;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_HELPER_NOT_ALLOWED);
    e = expectation();
    e.key.protocol = IPPROTO_SCTP;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_PROTOCOL_NOT_ALLOWED);
    e = expectation();
    e.key.orig.src = address(OWN);
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_ADDRESS_OWN);
    e = expectation();
    e.key.orig.dst = address(OWN_NAT); /* masqueraded, if it is translated */
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_ADDRESS_OWN);
    e.has |= SAMI_EXPECT_HAS_FUNCTION;
    strncpy(e.function, "nat-follow-master", sizeof e.function);
    CU_ASSERT_NOT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_ADDRESS_OWN);
    e.action = SAMI_ACTION_DELETED;
    CU_ASSERT_EQUAL(sami_validate_expectation(&e, &rules->policy), SAMI_REASON_NONE);
}

static void
test_address_set(void)
{
    g_autoptr(GArray) all = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    SamiAddressSet *set = sami_address_set_new();
    SamiAddress outside = address("10.1.0.0");
    CU_ASSERT_FALSE(sami_address_set_has(set, 4, &outside));
    for (guint i = 0; i < 1000; i++) {
        g_autofree gchar *text = g_strdup_printf(i % 2 ? "10.0.%u.%u" : "2001:db8::%x:%x", i >> 8, i & 255);
        SamiPrefix prefix;
        CU_ASSERT_TRUE(sami_prefix_parse(text, &prefix, NULL));
        g_array_append_val(all, prefix);
        g_array_append_val(all, prefix); /* two interfaces may have the same */
    }
    sami_address_set_replace(set, (const SamiPrefix *) (const void *) all->data, all->len);
    CU_ASSERT_EQUAL(sami_address_set_size(set), 1000);
    for (guint i = 0; i < all->len; i++) {
        const SamiPrefix *one = &g_array_index(all, SamiPrefix, i);
        CU_ASSERT_TRUE(sami_address_set_has(set, one->family, &one->address));
        CU_ASSERT_FALSE(sami_address_set_has(set, one->family == 4 ? 6 : 4, &one->address));
    }
    CU_ASSERT_FALSE(sami_address_set_has(set, 4, &outside));
    guint n = 0;
    for (guint slot = 0; slot < sami_address_set_slots(set); slot++) {
        SamiPrefix one;
        n += sami_address_set_at(set, slot, &one);
    }
    CU_ASSERT_EQUAL(n, 1000);
    sami_address_set_replace(set, NULL, 0);
    CU_ASSERT_FALSE(sami_address_set_has(set, g_array_index(all, SamiPrefix, 0).family, &g_array_index(all, SamiPrefix, 0).address));
    sami_address_set_free(set);
}

static void
test_rate(void)
{
    SamiRate *rate = sami_rate_new();
    gint64 now = 1000 * G_USEC_PER_SEC;
    sami_rate_take(rate, 1000000, now);
    CU_ASSERT_EQUAL(sami_rate_wait_us(rate, now), 0); /* no limit */
    sami_rate_set(rate, 100);
    sami_rate_take(rate, 100, now); /* a second's worth at once */
    CU_ASSERT_EQUAL(sami_rate_wait_us(rate, now), 0);
    sami_rate_take(rate, 50, now);
    CU_ASSERT_EQUAL(sami_rate_wait_us(rate, now), G_USEC_PER_SEC / 2);
    CU_ASSERT_EQUAL(sami_rate_wait_us(rate, now + G_USEC_PER_SEC / 2), 0);
    now += 3600 * (gint64) G_USEC_PER_SEC; /* an idle hour saves up no more than a second */
    sami_rate_take(rate, 200, now);
    CU_ASSERT_EQUAL(sami_rate_wait_us(rate, now), G_USEC_PER_SEC);
    for (guint i = 0; i < 1000; i++) { /* in the long run it is that rate */
        now += sami_rate_wait_us(rate, now);
        sami_rate_take(rate, 7, now);
    }
    CU_ASSERT_TRUE(now >= (1000 + 3600 + 1 + 69) * (gint64) G_USEC_PER_SEC && now <= (1000 + 3600 + 1 + 71) * (gint64) G_USEC_PER_SEC);
    sami_rate_set(rate, 0);
    CU_ASSERT_EQUAL(sami_rate_wait_us(rate, now), 0);
    sami_rate_unref(rate);
}

/* The names that flows are shown by are those that a policy is written in. */
static void
test_names(void)
{
    guint64 number = 0;
    gint64 s = 0;
    g_autofree gchar *text = NULL;
    for (guint protocol = 1; protocol < 256; protocol++) {
        const gchar *name = sami_protocol_name((guint8) protocol);
        if (name)
            CU_ASSERT_TRUE(sami_value_protocol(name, &number, NULL) && number == protocol);
    }
    CU_ASSERT_TRUE(sami_value_time("2026-12-31T23:59:59Z", &s, NULL) && s == 1798761599);
    CU_ASSERT_TRUE(sami_value_time("2026-12-31", &s, NULL) && s == 1798761599 - 86399);
    text = sami_value_time_print(1798761599);
    CU_ASSERT_STRING_EQUAL(text, "2026-12-31T23:59:59Z");
}

static const SamiTest tests[] = {
    { "sessions", test_sessions },
    { "translated ones", test_translated },
    { "a zone of one direction", test_reply_zone },
    { "special addresses, each with its key", test_special },
    { "what a record goes in without", test_strip },
    { "the longest timeouts", test_timeouts },
    { "expectations", test_expectations },
    { "a set of addresses", test_address_set },
    { "a rate", test_rate },
    { "names", test_names },
};

int
main(void)
{
    return sami_test_main("policy", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
