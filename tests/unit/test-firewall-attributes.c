/* The table of attributes: complete against the kernel's header, and its own inverse as far as it
 * is carried. */
#include "firewall/attributes.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>

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
            SAMI_HAS_MARK | SAMI_HAS_LABELS | SAMI_HAS_ID;
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

int
main(void)
{
    static const SamiTest tests[] = {
        {"every attribute of the header", test_every_attribute},
        {"the largest creation", test_create_message},
        {"what each operation says", test_operations},
        {"truncated messages", test_truncated},
    };
    return sami_test_main("firewall: attributes", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
