#include "firewall/gate.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/set.h>

#include "firewall/ops.h"
#include "firewall/nft.h"

#define RECEIVE_BUFFER (256 * 1024)
#define REPLY_MAX 8192u
#define BATCH_MAX 4096u /* begin, two messages of one element each, end */
/* What nft writes for the type of a key; it is a registry of nft, not of the kernel (nft's include/datatype.h). */
#define NFT_TYPE_IPV4 7u
#define NFT_TYPE_IPV6 8u

struct SamiGate {
    struct mnl_socket *socket;
    guint16 family;
    gchar *family_name;
    gchar *table;
    gchar *sets[2]; /* of IPv4, of IPv6 */
    guint32 sequence;
};

SamiGate *
sami_gate_new(const gchar *set, GError **error)
{
    guint16 family = 0;
    g_auto(GStrv) words = g_strsplit_set(set ? set : "", " ", -1);
    if (g_strv_length(words) != 3 || !sami_nft_family(words[0], &family) || !*words[1] || !*words[2] ||
        strlen(words[1]) >= NFT_NAME_MAXLEN || strlen(words[2]) + 1 >= NFT_NAME_MAXLEN) {
        g_autofree gchar *quoted = g_strescape(set ? set : "", NULL);
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG,
                    "'%s' names no set; allowed: FAMILY TABLE SET, such as inet filter sami_gate",
                    quoted);
        return NULL;
    }
    struct mnl_socket *socket = sami_linux_socket(0, RECEIVE_BUFFER, error);
    if (!socket)
        return NULL;
    SamiGate *gate = g_new0(SamiGate, 1);
    gate->socket = socket;
    gate->family = family;
    gate->family_name = g_strdup(words[0]);
    gate->table = g_strdup(words[1]);
    gate->sets[0] = g_strdup(words[2]);
    gate->sets[1] = g_strconcat(words[2], "6", NULL);
    return gate;
}

void
sami_gate_free(SamiGate *gate)
{
    if (!gate)
        return;
    mnl_socket_close(gate->socket);
    g_free(gate->family_name);
    g_free(gate->table);
    g_free(gate->sets[0]);
    g_free(gate->sets[1]);
    g_free(gate);
}

static struct nftnl_set *
make_set(const SamiGate *gate, guint is_ipv6)
{
    struct nftnl_set *set = nftnl_set_alloc();
    nftnl_set_set_str(set, NFTNL_SET_TABLE, gate->table);
    nftnl_set_set_str(set, NFTNL_SET_NAME, gate->sets[is_ipv6]);
    return set;
}

typedef struct {
    struct nftnl_set *set; /* filled if the kernel describes it */
    int result;            /* errno of the first message that failed */
    gboolean is_answered;
} Answer;

static int
on_message(const struct nlmsghdr *nlh, void *data)
{
    Answer *answer = data;
    answer->is_answered = TRUE;
    if (nlh->nlmsg_type == NLMSG_ERROR) {
        if (answer->result == 0)
            answer->result = sami_linux_errno(nlh);
    } else if (answer->set && nftnl_set_nlmsg_parse(nlh, answer->set) != 0) {
        answer->result = EBADMSG;
    }
    return MNL_CB_OK;
}

/* Sends and takes every answer. The kernel works a request off inside sendmsg(), so they are all there. */
static int
transact(SamiGate *gate, const void *data, gsize length, struct nftnl_set *ret_set)
{
    guint8 buffer[REPLY_MAX];
    Answer answer = {.set = ret_set};
    if (mnl_socket_sendto(gate->socket, data, length) < 0)
        return errno;
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(gate->socket, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno != EAGAIN ? errno : answer.is_answered ? answer.result : EPROTO;
        /* By hand: mnl_cb_run() ends at the first error, and a batch can bring several. */
        for (const struct nlmsghdr *nlh = (const void *)buffer; mnl_nlmsg_ok(nlh, (int)n);) {
            int left = (int)n;
            on_message(nlh, &answer);
            nlh = mnl_nlmsg_next(nlh, &left);
            n = left;
        }
    }
}

/* What the set is like now. 0, ENOENT, or another errno; EPROTOTYPE: not for these keys, or without timeouts. */
static int
look_up(SamiGate *gate, guint is_ipv6, gboolean *ret_has_intervals)
{
    guint8 buffer[1024];
    struct nftnl_set *set = make_set(gate, is_ipv6);
    struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr((char *)buffer, NFT_MSG_GETSET, gate->family,
                                                 NLM_F_ACK, ++gate->sequence);
    nftnl_set_nlmsg_build_payload(nlh, set);
    int result = transact(gate, nlh, nlh->nlmsg_len, set);
    guint32 flags = result == 0 ? nftnl_set_get_u32(set, NFTNL_SET_FLAGS) : 0;
    if (result == 0 && (nftnl_set_get_u32(set, NFTNL_SET_KEY_LEN) != (is_ipv6 ? 16u : 4u) ||
                        nftnl_set_get_u32(set, NFTNL_SET_KEY_TYPE) !=
                            (is_ipv6 ? NFT_TYPE_IPV6 : NFT_TYPE_IPV4) ||
                        !(flags & NFT_SET_TIMEOUT) || (flags & (NFT_SET_MAP | NFT_SET_CONSTANT))))
        result = EPROTOTYPE;
    *ret_has_intervals = (flags & NFT_SET_INTERVAL) != 0;
    nftnl_set_free(set);
    return result;
}

static void
fail(const SamiGate *gate, guint is_ipv6, const gchar *what, int result, GError **error)
{
    if (error && *error)
        return;
    if (result == ENOENT || result == EPROTOTYPE)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL,
                    "gate%s%s: no set '%s %s %s' with keys of type %s and timeouts; make it: nft add "
                    "set %s %s %s '{ type %s; flags timeout; }'",
                    *what ? " for " : "", what, gate->family_name, gate->table, gate->sets[is_ipv6],
                    is_ipv6 ? "ipv6_addr" : "ipv4_addr", gate->family_name, gate->table,
                    gate->sets[is_ipv6], is_ipv6 ? "ipv6_addr" : "ipv4_addr");
    else if (result == EDOM)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL,
                    "gate for %s: the set '%s %s %s' takes single addresses only; it needs 'flags "
                    "interval, timeout'",
                    what, gate->family_name, gate->table, gate->sets[is_ipv6]);
    else
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "gate for %s: set '%s %s %s': %s", what,
                    gate->family_name, gate->table, gate->sets[is_ipv6], g_strerror(result));
}

gboolean
sami_gate_check(SamiGate *gate, GError **error)
{
    gboolean has_intervals = FALSE;
    int result = 0;
    for (guint is_ipv6 = 0; is_ipv6 < 2; is_ipv6++) {
        result = look_up(gate, is_ipv6, &has_intervals);
        if (result == 0)
            return TRUE;
    }
    fail(gate, gate->family == NFPROTO_IPV6, "", result, error);
    return FALSE;
}

/* The address after the last one of the prefix. FALSE if there is none: the interval is open to the top. */
static gboolean
find_end(const SamiPrefix *prefix, SamiAddress *ret_end)
{
    gint bit = prefix->length - 1;
    *ret_end = prefix->address;
    for (; bit >= 0; bit--) {
        guint8 mask = (guint8)(0x80u >> (bit % 8));
        ret_end->octets[bit / 8] ^= mask;
        if (ret_end->octets[bit / 8] & mask) /* no carry */
            return TRUE;
    }
    return FALSE;
}

static void
add_element(struct nftnl_set *set, const SamiAddress *address, guint length, guint64 timeout_ms,
            gboolean is_end)
{
    struct nftnl_set_elem *element = nftnl_set_elem_alloc();
    nftnl_set_elem_set(element, NFTNL_SET_ELEM_KEY, address->octets, length);
    if (is_end)
        nftnl_set_elem_set_u32(element, NFTNL_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
    else if (timeout_ms)
        nftnl_set_elem_set_u64(element, NFTNL_SET_ELEM_TIMEOUT, timeout_ms);
    nftnl_set_elem_add(set, element); /* takes it */
}

static void
add_message(SamiGate *gate, struct mnl_nlmsg_batch *batch, guint16 type, guint16 flags,
            const struct nftnl_set *set)
{
    struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(mnl_nlmsg_batch_current(batch), type, gate->family,
                                                 flags | NLM_F_ACK, ++gate->sequence);
    nftnl_set_elems_nlmsg_build_payload(nlh, (struct nftnl_set *)set);
    mnl_nlmsg_batch_next(batch);
}

/* One transaction: delete, add, or delete and add. */
static int
write_element(SamiGate *gate, const struct nftnl_set *deleted, const struct nftnl_set *added)
{
    guint8 buffer[BATCH_MAX];
    struct mnl_nlmsg_batch *batch = mnl_nlmsg_batch_start(buffer, sizeof buffer);
    nftnl_batch_begin(mnl_nlmsg_batch_current(batch), ++gate->sequence);
    mnl_nlmsg_batch_next(batch);
    if (deleted)
        add_message(gate, batch, NFT_MSG_DELSETELEM, 0, deleted);
    if (added)
        add_message(gate, batch, NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, added);
    nftnl_batch_end(mnl_nlmsg_batch_current(batch), ++gate->sequence);
    mnl_nlmsg_batch_next(batch);
    int result = transact(gate, mnl_nlmsg_batch_head(batch), mnl_nlmsg_batch_size(batch), NULL);
    mnl_nlmsg_batch_stop(batch);
    return result;
}

static struct nftnl_set *
make_element(const SamiGate *gate, const SamiPrefix *prefix, gboolean has_intervals,
             guint64 timeout_ms)
{
    guint is_ipv6 = prefix->family == 6, length = is_ipv6 ? 16 : 4;
    struct nftnl_set *set = make_set(gate, is_ipv6);
    SamiAddress end;
    add_element(set, &prefix->address, length, timeout_ms, FALSE);
    if (has_intervals && find_end(prefix, &end))
        add_element(set, &end, length, 0, TRUE);
    return set;
}

/* timeout_ms 0: opens. */
static int
change(SamiGate *gate, const SamiPrefix *prefix, guint64 timeout_ms)
{
    guint is_ipv6 = prefix->family == 6;
    gboolean has_intervals = FALSE;
    int result = look_up(gate, is_ipv6, &has_intervals);
    if (result != 0)
        return result == ENOENT && timeout_ms == 0 ? 0 : result;
    if (!has_intervals && prefix->length != (is_ipv6 ? 128 : 32))
        return timeout_ms == 0 ? 0 : EDOM;
    struct nftnl_set *bare = make_element(gate, prefix, has_intervals, 0);
    if (timeout_ms == 0) {
        result = write_element(gate, bare, NULL);
        result = result == ENOENT ? 0 : result;
    } else {
        struct nftnl_set *timed = make_element(gate, prefix, has_intervals, timeout_ms);
        result = write_element(gate, NULL, timed);
        /* Before Linux 6.12 an element that is there keeps its timeout: delete and add in one transaction. It may have run out in
         * between, hence the last try. */
        if (result == EEXIST)
            result = write_element(gate, bare, timed);
        if (result == ENOENT)
            result = write_element(gate, NULL, timed);
        nftnl_set_free(timed);
    }
    nftnl_set_free(bare);
    return result;
}

static gboolean
change_all(SamiGate *gate, const SamiPrefix *prefixes, guint n, guint64 timeout_ms, GError **error)
{
    gboolean is_done = TRUE;
    for (guint i = 0; i < n; i++) {
        int result = change(gate, &prefixes[i], timeout_ms);
        if (result == 0)
            continue;
        g_autofree gchar *text = sami_prefix_to_string(&prefixes[i]);
        fail(gate, prefixes[i].family == 6, text, result, error);
        is_done = FALSE;
    }
    return is_done;
}

gboolean
sami_gate_close(SamiGate *gate, const SamiPrefix *prefixes, guint n, guint timeout_ms, GError **error)
{
    return change_all(gate, prefixes, n, MAX(timeout_ms, 1u), error);
}

gboolean
sami_gate_open(SamiGate *gate, const SamiPrefix *prefixes, guint n, GError **error)
{
    return change_all(gate, prefixes, n, 0, error);
}
