/* The table of attributes: complete against the kernel's header, and its own inverse as far as it
 * is carried. */
#include "firewall/attributes.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>

#include "firewall/expect.h"
#include "tests/unit/harness.h"

static void
test_every_attribute(void)
{
    CU_ASSERT_PTR_NULL(sami_ct_attribute(CTA_UNSPEC));
    CU_ASSERT_PTR_NULL(sami_ct_attribute(1000));
    for (guint type = 1; type <= CTA_MAX; type++) {
        const SamiCtAttribute *row = sami_ct_attribute(type);
        CU_ASSERT_PTR_NOT_NULL_FATAL(row);
        CU_ASSERT_TRUE(g_str_has_prefix(row->name, "CTA_"));
        gboolean is_carried = row->parse || row->build;
        CU_ASSERT_EQUAL(is_carried, row->because == NULL);
        CU_ASSERT_EQUAL(row->build != NULL, row->ops != 0);
    }
}

static SamiSession
largest(void)
{
    SamiSession s = {.key = {.zone = 5, .family = 6, .protocol = IPPROTO_TCP},
                     .action = SAMI_ACTION_CREATED};
    inet_pton(AF_INET6, "fd00::1", s.key.orig.src.octets);
    inet_pton(AF_INET6, "2001:db8::1", s.key.orig.dst.octets);
    s.key.orig.src_port = 1000;
    s.key.orig.dst_port = 443;
    inet_pton(AF_INET6, "fd09::1", s.reply.src.octets);
    inet_pton(AF_INET6, "2001:db8::2", s.reply.dst.octets);
    s.reply.src_port = 8443;
    s.reply.dst_port = 61000;
    s.has = SAMI_HAS_REPLY | SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_TCP | SAMI_HAS_WSCALE |
            SAMI_HAS_MARK | SAMI_HAS_LABELS | SAMI_HAS_ID | SAMI_HAS_SEQADJ | SAMI_HAS_SYNPROXY | SAMI_HAS_HELPER |
            SAMI_HAS_HELPER_INFO | SAMI_HAS_MASTER;
    s.master = s.key;
    s.synproxy_isn = 1;
    memcpy(s.helper, "123456789012345", sizeof s.helper);
    s.status = SAMI_IPS_ASSURED | SAMI_IPS_SEEN_REPLY;
    s.timeout_s = 77;
    s.tcp_state = SAMI_TCP_STATE_ESTABLISHED;
    s.tcp_flags[0] = s.tcp_flags[1] = 0xff;
    s.tcp_wscale[0] = 3;
    s.tcp_wscale[1] = 4;
    s.mark = 0x12345678;
    memset(s.labels, 0xa5, sizeof s.labels);
    s.flow_id = 99;
    return s;
}

static void
test_create_message(void)
{
    SamiSession s = largest(), parsed;
    guint8 buffer[2 * SAMI_CT_MESSAGE_MAX];
    struct nlmsghdr *nlh = sami_ct_message(buffer, IPCTNL_MSG_CT_NEW, 0, s.key.family, 1);
    sami_ct_put(nlh, &s, SAMI_OP_CREATE);
    CU_ASSERT_TRUE(nlh->nlmsg_len <= SAMI_CT_MESSAGE_MAX);
    CU_ASSERT_TRUE(sami_ct_parse(nlh, &parsed));
    CU_ASSERT_TRUE(sami_flow_key_equal(&parsed.key, &s.key));
    SamiTuple mirror;
    CU_ASSERT_TRUE(sami_flow_key_mirror(&s.key, &mirror));
    CU_ASSERT_EQUAL(memcmp(&parsed.reply, &mirror, sizeof mirror), 0); /* untranslated */
    CU_ASSERT_EQUAL(parsed.status, SAMI_IPS_ASSURED | SAMI_IPS_SEEN_REPLY | SAMI_IPS_CONFIRMED);
    CU_ASSERT_EQUAL(parsed.tcp_flags[0], 0x0f);
    CU_ASSERT_EQUAL(parsed.tcp_wscale[1], 4);
    CU_ASSERT_EQUAL(parsed.mark, s.mark);
    CU_ASSERT_EQUAL(parsed.timeout_s, 77);
    CU_ASSERT_EQUAL(memcmp(parsed.labels, s.labels, sizeof s.labels), 0);
    CU_ASSERT_FALSE(parsed.has & SAMI_HAS_ID);
    CU_ASSERT_TRUE(sami_session_same_fixed(&parsed, &s, SAMI_HAS_REPLY));
}

/* What each kind of operation may say; LIFECYCLE's rules for updates hold by absence. */
static void
test_operations(void)
{
    static const struct {
        SamiOpKind kind;
        guint32 types; /* 1 << CTA_* */
    } rows[] = {
        {SAMI_OP_UPDATE_FULL, 1 << CTA_TUPLE_ORIG | 1 << CTA_ZONE | 1 << CTA_TIMEOUT |
                                  1 << CTA_PROTOINFO | 1 << CTA_MARK | 1 << CTA_LABELS},
        {SAMI_OP_UPDATE_FLAGS, 1 << CTA_TUPLE_ORIG | 1 << CTA_ZONE | 1 << CTA_PROTOINFO},
        {SAMI_OP_UPDATE_TIMEOUT, 1 << CTA_TUPLE_ORIG | 1 << CTA_ZONE | 1 << CTA_TIMEOUT},
        {SAMI_OP_UPDATE_FIXED, 1 << CTA_TUPLE_ORIG | 1 << CTA_ZONE | 1 << CTA_TIMEOUT | 1 << CTA_STATUS},
        {SAMI_OP_DELETE, 1 << CTA_TUPLE_ORIG | 1 << CTA_ZONE | 1 << CTA_ID},
    };
    SamiSession s = largest();
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        guint8 buffer[2 * SAMI_CT_MESSAGE_MAX];
        guint32 types = 0;
        const struct nlattr *attr;
        struct nlmsghdr *nlh = sami_ct_message(buffer, IPCTNL_MSG_CT_NEW, 0, s.key.family, 1);
        sami_ct_put(nlh, &s, rows[i].kind);
        mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg)) types |= 1u
                                                                       << mnl_attr_get_type(attr);
        CU_ASSERT_EQUAL(types, rows[i].types);
    }
}

/* Messages cut at any unit of alignment (libmnl rounds lengths up to it): no entry, or one with
 * less, and nothing read beyond. */
static void
test_truncated(void)
{
    SamiSession s = largest(), parsed;
    guint8 buffer[2 * SAMI_CT_MESSAGE_MAX];
    struct nlmsghdr *nlh = sami_ct_message(buffer, IPCTNL_MSG_CT_NEW, 0, s.key.family, 1);
    sami_ct_put(nlh, &s, SAMI_OP_CREATE);
    for (guint32 length = NLMSG_HDRLEN; length < nlh->nlmsg_len; length += NLMSG_ALIGNTO) {
        struct nlmsghdr *cut = g_memdup2(nlh, length);
        cut->nlmsg_len = length;
        gboolean is_parsed = sami_ct_parse(cut, &parsed);
        CU_ASSERT_TRUE(!is_parsed || memcmp(&parsed.key.orig, &s.key.orig, sizeof s.key.orig) == 0);
        g_free(cut);
    }
}

/* As the kernel says them in a dump (tests/data/flowtable): no timeout, no protocol state. */
static void
test_offloaded(void)
{
    static const struct {
        const gchar *name;
        guint32 timeout_s;
        gboolean is_tcp, has_snat;
    } rows[] = {
        {"tcp.nlmsg", 432000, TRUE, FALSE},
        {"tcp-snat.nlmsg", 432000, TRUE, TRUE},
        {"udp6.nlmsg", 120, FALSE, FALSE},
    };
    const gchar *top = g_getenv("srcdir");
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree gchar *path = g_build_filename(top ? top : ".", "tests/data/flowtable", rows[i].name, NULL);
        g_autofree gchar *octets = NULL;
        gsize n = 0;
        SamiSession s;
        CU_ASSERT_TRUE_FATAL(g_file_get_contents(path, &octets, &n, NULL));
        CU_ASSERT_TRUE_FATAL(sami_ct_parse((const struct nlmsghdr *)(const void *)octets, &s));
        CU_ASSERT_TRUE(s.status & SAMI_IPS_OFFLOAD);
        CU_ASSERT_TRUE((s.has & SAMI_HAS_TIMEOUT) && s.timeout_s == rows[i].timeout_s);
        CU_ASSERT_EQUAL((s.has & SAMI_HAS_TCP) != 0, rows[i].is_tcp);
        CU_ASSERT_EQUAL(sami_session_has_snat(&s), rows[i].has_snat);
        if (!rows[i].is_tcp)
            continue;
        CU_ASSERT_EQUAL(s.tcp_state, SAMI_TCP_STATE_ESTABLISHED);
        CU_ASSERT_EQUAL(s.tcp_flags[0] & s.tcp_flags[1], SAMI_TCP_FLAG_BE_LIBERAL); /* its windows are not known */
        CU_ASSERT_FALSE(s.has & SAMI_HAS_WSCALE);
    }
}

/* Of a kernel with a local security module, and of one that still tracks DCCP. */
static void
test_foreign(void)
{
    SamiSession s = largest(), parsed;
    guint8 buffer[2 * SAMI_CT_MESSAGE_MAX];
    s.key.protocol = IPPROTO_DCCP;
    s.has = SAMI_HAS_REPLY | SAMI_HAS_TIMEOUT | SAMI_HAS_DCCP;
    s.dccp_state = 4;
    s.dccp_role = 1;
    s.dccp_handshake_seq = 0x123456789abcu;
    struct nlmsghdr *nlh = sami_ct_message(buffer, IPCTNL_MSG_CT_NEW, 0, s.key.family, 1);
    sami_ct_put(nlh, &s, SAMI_OP_CREATE);
    struct nlattr *secctx = mnl_attr_nest_start(nlh, CTA_SECCTX);
    mnl_attr_put_strz(nlh, CTA_SECCTX_NAME, "system_u:object_r:http_packet_t:s0:c0.c1023,a-name-that-is-longer-than-what-is-carried");
    mnl_attr_nest_end(nlh, secctx);
    CU_ASSERT_TRUE(sami_ct_parse(nlh, &parsed));
    CU_ASSERT_TRUE((parsed.has & SAMI_HAS_DCCP) && parsed.dccp_state == 4 && parsed.dccp_role == 1);
    CU_ASSERT_EQUAL(parsed.dccp_handshake_seq, s.dccp_handshake_seq);
    CU_ASSERT_TRUE(parsed.has & SAMI_HAS_SECCTX);
    CU_ASSERT_EQUAL(strlen(parsed.secctx), SAMI_SECCTX_MAX - 1);
}

static void
test_every_expect_attribute(void)
{
    CU_ASSERT_PTR_NULL(sami_expect_attribute(CTA_EXPECT_UNSPEC));
    CU_ASSERT_PTR_NULL(sami_expect_attribute(1000));
    for (guint type = 1; type <= CTA_EXPECT_MAX; type++) {
        const SamiExpectAttribute *row = sami_expect_attribute(type);
        CU_ASSERT_PTR_NOT_NULL_FATAL(row);
        CU_ASSERT_TRUE(g_str_has_prefix(row->name, "CTA_EXPECT_"));
        gboolean is_carried = row->parse || row->build;
        CU_ASSERT_EQUAL(is_carried, row->because == NULL);
        CU_ASSERT_EQUAL(row->build != NULL, row->ops != 0);
        CU_ASSERT_TRUE(type != CTA_EXPECT_TUPLE || (row->ops & 1u << SAMI_EXPECT_DELETE)); /* else it would end all there are */
    }
}

/* Its own inverse, but for what a creation does not say. */
static void
test_expect_message(void)
{
    SamiSession s = largest();
    SamiExpectation e = {.key = s.key, .master = s.key, .flags = SAMI_EXPECT_INACTIVE, .expect_class = 2, .timeout_s = 9,
                         .has = SAMI_EXPECT_HAS_NAT | SAMI_EXPECT_HAS_FUNCTION, .nat_direction = 1, .nat_address = s.reply.src,
                         .nat_port = 5060, .action = SAMI_ACTION_CREATED},
                    parsed;
    memset(e.function, 'f', sizeof e.function - 1);
    memset(e.mask_src.octets, 0xff, sizeof e.mask_src.octets);
    guint8 buffer[2 * SAMI_CT_MESSAGE_MAX];
    struct nlmsghdr *nlh = sami_expect_build(&e, SAMI_EXPECT_CREATE, buffer);
    CU_ASSERT_TRUE(nlh->nlmsg_len <= SAMI_CT_MESSAGE_MAX);
    CU_ASSERT_TRUE(sami_expect_parse(nlh, &parsed));
    e.timeout_s = 0;
    CU_ASSERT_EQUAL(memcmp(&parsed, &e, sizeof e), 0);
    for (guint32 length = NLMSG_HDRLEN; length < nlh->nlmsg_len; length += NLMSG_ALIGNTO) {
        struct nlmsghdr *cut = g_memdup2(nlh, length);
        cut->nlmsg_len = length;
        gboolean is_parsed = sami_expect_parse(cut, &parsed);
        CU_ASSERT_TRUE(!is_parsed || memcmp(&parsed.key.orig, &e.key.orig, sizeof e.key.orig) == 0);
        g_free(cut);
    }
}

int
main(void)
{
    static const SamiTest tests[] = {
        {"every attribute of the header", test_every_attribute},
        {"the largest creation", test_create_message},
        {"what each operation says", test_operations},
        {"truncated messages", test_truncated},
        {"flows in a flowtable", test_offloaded},
        {"what this kernel does not have", test_foreign},
        {"every attribute of expectations", test_every_expect_attribute},
        {"an expectation's creation", test_expect_message},
    };
    return sami_test_main("firewall: attributes", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
