#include "firewall/expect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>
#include <sys/socket.h>

#include "firewall/attributes.h"
#include "firewall/netlink.h"
#include "firewall/ops.h"

#define ON(kind) (1u << SAMI_EXPECT_##kind)
#define ON_ALL (ON(CREATE) | ON(SET_TIMEOUT) | ON(DELETE))

static void
parse_master(const struct nlattr *attr, SamiExpectation *e)
{
    e->master.family = e->key.family;
    if (!sami_ct_parse_tuple(attr, e->key.family, &e->master.orig, &e->master.protocol))
        e->master.protocol = 0;
}

static void
parse_tuple(const struct nlattr *attr, SamiExpectation *e)
{
    if (!sami_ct_parse_tuple(attr, e->key.family, &e->key.orig, &e->key.protocol))
        e->key.protocol = 0;
}

/* All bits of the destination: the kernel has no mask for it, and writes what stands for one. */
static void
parse_mask(const struct nlattr *attr, SamiExpectation *e)
{
    SamiTuple mask = {0};
    guint8 protocol;
    if (!sami_ct_parse_tuple(attr, e->key.family, &mask, &protocol))
        return;
    e->mask_src = mask.src;
    e->mask_src_port = mask.src_port;
}

static void
parse_timeout(const struct nlattr *attr, SamiExpectation *e)
{
    e->timeout_s = (guint32)get_uint(attr);
}

static void
parse_id(const struct nlattr *attr, SamiExpectation *e)
{
    e->id = (guint32)get_uint(attr);
    e->has |= SAMI_EXPECT_HAS_ID;
}

static void
parse_helper(const struct nlattr *attr, SamiExpectation *e)
{
    get_text(attr, e->helper, sizeof e->helper);
    e->has |= e->helper[0] ? SAMI_EXPECT_HAS_HELPER : 0;
}

static void
parse_zone(const struct nlattr *attr, SamiExpectation *e)
{
    e->key.zone = (guint16)get_uint(attr);
}

static void
parse_flags(const struct nlattr *attr, SamiExpectation *e)
{
    e->flags = (guint32)get_uint(attr);
}

static void
parse_class(const struct nlattr *attr, SamiExpectation *e)
{
    e->expect_class = (guint32)get_uint(attr);
}

static void
parse_nat(const struct nlattr *attr, SamiExpectation *e)
{
    Nested nat;
    SamiTuple tuple = {0};
    guint8 protocol;
    open_nest(attr, nat);
    if (!nat[CTA_EXPECT_NAT_DIR] || !nat[CTA_EXPECT_NAT_TUPLE] ||
        !sami_ct_parse_tuple(nat[CTA_EXPECT_NAT_TUPLE], e->key.family, &tuple, &protocol))
        return;
    e->nat_direction = (guint8)get_uint(nat[CTA_EXPECT_NAT_DIR]);
    e->nat_address = tuple.src;
    e->nat_port = tuple.src_port;
    e->has |= SAMI_EXPECT_HAS_NAT;
}

static void
parse_function(const struct nlattr *attr, SamiExpectation *e)
{
    get_text(attr, e->function, sizeof e->function);
    e->has |= e->function[0] ? SAMI_EXPECT_HAS_FUNCTION : 0;
}

static void
put_master(struct nlmsghdr *nlh, const SamiExpectation *e)
{
    sami_ct_put_tuple(nlh, CTA_EXPECT_MASTER, &e->master, &e->master.orig);
}

static void
put_expected(struct nlmsghdr *nlh, const SamiExpectation *e)
{
    sami_ct_put_tuple(nlh, CTA_EXPECT_TUPLE, &e->key, &e->key.orig);
}

static void
put_mask(struct nlmsghdr *nlh, const SamiExpectation *e)
{
    SamiTuple mask = {.src = e->mask_src, .src_port = e->mask_src_port, .dst_port = G_MAXUINT16};
    memset(mask.dst.octets, 0xff, e->key.family == 4 ? 4 : 16);
    sami_ct_put_tuple(nlh, CTA_EXPECT_MASK, &e->key, &mask);
}

static void
put_timeout(struct nlmsghdr *nlh, const SamiExpectation *e)
{
    put_u32(nlh, CTA_EXPECT_TIMEOUT, htonl(e->timeout_s));
}

static void
put_id(struct nlmsghdr *nlh, const SamiExpectation *e)
{
    if (e->has & SAMI_EXPECT_HAS_ID)
        put_u32(nlh, CTA_EXPECT_ID, htonl(e->id));
}

static void
put_zone(struct nlmsghdr *nlh, const SamiExpectation *e)
{
    if (e->key.zone)
        put_u16(nlh, CTA_EXPECT_ZONE, htons(e->key.zone));
}

static void
put_flags(struct nlmsghdr *nlh, const SamiExpectation *e)
{
    put_u32(nlh, CTA_EXPECT_FLAGS, htonl(e->flags));
}

static void
put_class(struct nlmsghdr *nlh, const SamiExpectation *e)
{
    put_u32(nlh, CTA_EXPECT_CLASS, htonl(e->expect_class));
}

/* Protocol and family of the saved half are the master's (ctnetlink_exp_dump_expect). */
static void
put_nat(struct nlmsghdr *nlh, const SamiExpectation *e)
{
    SamiTuple tuple = {.src = e->nat_address, .src_port = e->nat_port};
    if (!(e->has & SAMI_EXPECT_HAS_NAT))
        return;
    struct nlattr *nat = nest_start(nlh, CTA_EXPECT_NAT);
    put_u32(nlh, CTA_EXPECT_NAT_DIR, htonl(e->nat_direction));
    sami_ct_put_tuple(nlh, CTA_EXPECT_NAT_TUPLE, &e->master, &tuple);
    nest_end(nlh, nat);
}

static void
put_function(struct nlmsghdr *nlh, const SamiExpectation *e)
{
    if (e->has & SAMI_EXPECT_HAS_FUNCTION)
        put(nlh, CTA_EXPECT_FN, strnlen(e->function, sizeof e->function - 1) + 1, e->function);
}

#define CARRIED(type, parse, build, ops) [type] = {#type, NULL, parse, build, ops}

/* What a request of a kind may not leave out: a deletion without a tuple would end all expectations of the namespace. */
static const SamiExpectAttribute attributes[] = {
    CARRIED(CTA_EXPECT_MASTER, parse_master, put_master, ON(CREATE) | ON(SET_TIMEOUT)),
    CARRIED(CTA_EXPECT_TUPLE, parse_tuple, put_expected, ON_ALL),
    CARRIED(CTA_EXPECT_MASK, parse_mask, put_mask, ON(CREATE) | ON(SET_TIMEOUT)),
    CARRIED(CTA_EXPECT_TIMEOUT, parse_timeout, put_timeout, ON(SET_TIMEOUT)), /* a creation does not look at it */
    CARRIED(CTA_EXPECT_ID, parse_id, put_id, ON(DELETE)),
    /* Dumped is the master's. In a creation it would be the one of the flow to come, which none of the dumped ones says (the kernel
     * ignores it since it was found out, and takes the class from the master's). */
    CARRIED(CTA_EXPECT_HELP_NAME, parse_helper, NULL, 0),
    CARRIED(CTA_EXPECT_ZONE, parse_zone, put_zone, ON_ALL),
    CARRIED(CTA_EXPECT_FLAGS, parse_flags, put_flags, ON(CREATE)),
    CARRIED(CTA_EXPECT_CLASS, parse_class, put_class, ON(CREATE)),
    CARRIED(CTA_EXPECT_NAT, parse_nat, put_nat, ON(CREATE)),
    CARRIED(CTA_EXPECT_FN, parse_function, put_function, ON(CREATE)),
};

const SamiExpectAttribute *
sami_expect_attribute(guint type)
{
    return type < G_N_ELEMENTS(attributes) && attributes[type].name ? &attributes[type] : NULL;
}

gboolean
sami_expect_parse(const struct nlmsghdr *nlh, SamiExpectation *ret)
{
    const struct nfgenmsg *header = mnl_nlmsg_get_payload(nlh);
    memset(ret, 0, sizeof *ret);
    if (mnl_nlmsg_get_payload_len(nlh) < sizeof *header)
        return FALSE;
    ret->key.family = header->nfgen_family == AF_INET6 ? 6 : header->nfgen_family == AF_INET ? 4 : 0;
    ret->action = SAMI_ACTION_CREATED;
    if (ret->key.family == 0)
        return FALSE;
    const guint8 *end = (const guint8 *)nlh + nlh->nlmsg_len;
    for (const struct nlattr *attr = attr_at((const guint8 *)header + MNL_ALIGN(sizeof *header), end); attr;
         attr = attr_next(attr, end)) {
        const SamiExpectAttribute *row = sami_expect_attribute(attr_type(attr));
        if (row && row->parse)
            row->parse(attr, ret);
    }
    ret->master.zone = ret->key.zone;
    return ret->key.protocol != 0 && ret->master.protocol != 0;
}

static struct nlmsghdr *
start_message(guint8 *buffer, guint16 type, guint16 flags, guint8 family)
{
    struct nlmsghdr *nlh = sami_ct_message(buffer, type, flags, family, 0);
    nlh->nlmsg_type = (guint16)(NFNL_SUBSYS_CTNETLINK_EXP << 8 | type);
    return nlh;
}

struct nlmsghdr *
sami_expect_build(const SamiExpectation *e, SamiExpectOpKind kind, guint8 *buffer)
{
    guint16 type = kind == SAMI_EXPECT_DELETE ? IPCTNL_MSG_EXP_DELETE : IPCTNL_MSG_EXP_NEW;
    guint16 flags = kind == SAMI_EXPECT_CREATE ? NLM_F_CREATE | NLM_F_EXCL : 0;
    struct nlmsghdr *nlh = start_message(buffer, type, flags, e->key.family);
    for (gsize i = 0; i < G_N_ELEMENTS(attributes); i++)
        if (attributes[i].ops & 1u << kind)
            attributes[i].build(nlh, e);
    return nlh;
}

static void
on_op_reply(const struct nlmsghdr *nlh, gpointer user_data)
{
    SamiExpectOp *op = user_data;
    if (nlh->nlmsg_type == NLMSG_ERROR)
        op->result = sami_linux_errno(nlh);
}

gboolean
sami_linux_expect(SamiFirewall *firewall, SamiExpectOp *ops, guint n, GError **error)
{
    guint8 buffer[SAMI_FIREWALL_MESSAGE_MAX];
    for (guint i = 0; i < n; i++) {
        ops[i].result = 0;
        if (sami_linux_ask(firewall, sami_expect_build(ops[i].expectation, ops[i].kind, buffer), on_op_reply, &ops[i], error))
            continue;
        for (; i < n; i++)
            ops[i].result = ECANCELED;
        return FALSE;
    }
    return TRUE;
}

typedef struct {
    const SamiFlowKey *master;
    GArray *found; /* of SamiExpectation: the caller may ask for more while it looks at them */
    int failure;
} Listing;

static void
on_listed(const struct nlmsghdr *nlh, gpointer user_data)
{
    Listing *listing = user_data;
    SamiExpectation e;
    if (nlh->nlmsg_type == NLMSG_ERROR) {
        listing->failure = sami_linux_errno(nlh);
        return;
    }
    if (nlh->nlmsg_type != (NFNL_SUBSYS_CTNETLINK_EXP << 8 | IPCTNL_MSG_EXP_NEW) || !sami_expect_parse(nlh, &e))
        return;
    if (listing->master)
        e.key.zone = e.master.zone = listing->master->zone;
    g_array_append_val(listing->found, e);
}

/* A flow without a helper is answered by nothing but the acknowledgement (ctnetlink_dump_exp_ct). */
gboolean
sami_linux_expectations(SamiFirewall *firewall, const SamiFlowKey *master, SamiExpectationFunc func, gpointer user_data, GError **error)
{
    guint8 buffer[SAMI_FIREWALL_MESSAGE_MAX];
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(SamiExpectation));
    Listing listing = {.master = master, .found = found};
    struct nlmsghdr *nlh = start_message(buffer, IPCTNL_MSG_EXP_GET, NLM_F_DUMP | NLM_F_ACK, master ? master->family : 0);
    if (master) {
        sami_ct_put_tuple(nlh, CTA_EXPECT_MASTER, master, &master->orig);
        if (master->zone)
            put_u16(nlh, CTA_EXPECT_ZONE, htons(master->zone));
    }
    if (!sami_linux_ask(firewall, nlh, on_listed, &listing, error))
        return FALSE;
    if (listing.failure && listing.failure != ENOENT) {
        g_set_error(error, SAMI_ERROR, listing.failure == EPERM ? SAMI_ERROR_PERMISSION : SAMI_ERROR_KERNEL, "expectations: %s",
                    g_strerror(listing.failure));
        return FALSE;
    }
    for (guint i = 0; i < found->len; i++)
        func(&g_array_index(found, SamiExpectation, i), user_data);
    return TRUE;
}

gboolean
sami_firewall_expect(SamiFirewall *firewall, SamiExpectOp *ops, guint n, GError **error)
{
    return n == 0 || firewall->ops->expect(firewall, ops, n, error);
}

gboolean
sami_firewall_expectations(SamiFirewall *firewall, const SamiFlowKey *master, SamiExpectationFunc func, gpointer user_data, GError **error)
{
    return firewall->ops->expectations(firewall, master, func, user_data, error);
}
