#include "firewall/sets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/set.h>

#include "firewall/ops.h"
#include "firewall/nft.h"

#define RECEIVE_BUFFER (8 * 1024 * 1024)
#define PART_MAX 65536u
/* An element is at most 64 octets of key and 200 of the rest: so many fit into the 64 kB of a nested attribute. */
#define MESSAGE_ELEMENTS 128u
#define MESSAGE_MAX 65536u
#define TWINS 8u      /* looks at an element after it was written */
#define GETS 128u /* an answer occupies a page of the receive buffer */
#define GET_MAX 512u /* of a request: names of table and set, one key */

struct SamiSet {
    struct mnl_socket *socket;
    struct mnl_socket *dump; /* (nullable) runs */
    SamiSetInfo dumped;
    guint16 family;
    gchar *table, *name, *title;
    guint32 sequence;
    guint8 *buffer; /* PART_MAX */
};

/* nft's include/datatype.h; those of a fixed length that somebody may count by. */
#define TYPE_IPV4 7u
#define TYPE_IPV6 8u
#define TYPE_SERVICE 13u
static const guint8 type_lengths[64] = {
    [2] = 1,  [TYPE_IPV4] = 4, [TYPE_IPV6] = 16, [9] = 6,  [10] = 2, [11] = 2, [12] = 1, [TYPE_SERVICE] = 2,
    [14] = 1, [15] = 1,        [16] = 1,         [17] = 1, [19] = 4, [20] = 4, [21] = 2, [22] = 4,
    [23] = 4, [24] = 4,        [25] = 4,         [26] = 4, [27] = 1, [28] = 4, [29] = 1, [30] = 16,
    [31] = 1, [32] = 1,        [33] = 1,         [34] = 1, [35] = 4, [36] = 1, [37] = 1, [41] = 16,
};

SamiSet *
sami_set_new(const gchar *table, const gchar *name, GError **error)
{
    guint16 family = 0;
    g_auto(GStrv) words = g_strsplit(table ? table : "", " ", -1);
    if (g_strv_length(words) != 2 || !sami_nft_family(words[0], &family) || !*words[1] || strlen(words[1]) >= NFT_NAME_MAXLEN ||
        !name || !*name || strchr(name, ' ') || strlen(name) >= NFT_NAME_MAXLEN) {
        g_autofree gchar *quoted = g_strescape(table ? table : "", NULL), *of = g_strescape(name ? name : "", NULL);
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG,
                    "'%s' '%s' names no set; allowed: table = FAMILY TABLE, such as inet filter, and set = NAME", quoted, of);
        return NULL;
    }
    struct mnl_socket *socket = sami_linux_socket(0, RECEIVE_BUFFER, error);
    if (!socket)
        return NULL;
    SamiSet *set = g_new0(SamiSet, 1);
    set->socket = socket;
    set->family = family;
    set->table = g_strdup(words[1]);
    set->name = g_strdup(name);
    set->title = g_strdup_printf("%s %s %s", words[0], words[1], name);
    set->buffer = g_malloc(PART_MAX);
    return set;
}

void
sami_set_free(SamiSet *set)
{
    if (!set)
        return;
    sami_set_dump_stop(set);
    mnl_socket_close(set->socket);
    g_free(set->table);
    g_free(set->name);
    g_free(set->title);
    g_free(set->buffer);
    g_free(set);
}

const gchar *
sami_set_title(const SamiSet *set)
{
    return set->title;
}

static struct nftnl_set *
make_set(const SamiSet *set)
{
    struct nftnl_set *s = nftnl_set_alloc();
    nftnl_set_set_str(s, NFTNL_SET_TABLE, set->table);
    nftnl_set_set_str(s, NFTNL_SET_NAME, set->name);
    return s;
}

typedef void (*MessageFunc)(const struct nlmsghdr *nlh, gpointer user_data);

/* Everything that is queued. By hand: mnl_cb_run() ends at the first error. 0, or errno of the socket. */
static int
take_answers(SamiSet *set, MessageFunc func, gpointer user_data)
{
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(set->socket, set->buffer, PART_MAX);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : errno;
        int left = (int) n;
        for (const struct nlmsghdr *nlh = (const void *) set->buffer; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
            func(nlh, user_data);
    }
}

static int
ask(SamiSet *set, const void *data, gsize length, MessageFunc func, gpointer user_data)
{
    ssize_t n;
    while ((n = mnl_socket_sendto(set->socket, data, length)) < 0 && errno == EINTR)
        ;
    return n < 0 ? errno : take_answers(set, func, user_data);
}

/* What the set is like. */

typedef struct {
    struct nftnl_set *set;
    int result;
    gboolean is_answered;
} Look;

static void
on_look(const struct nlmsghdr *nlh, gpointer user_data)
{
    Look *look = user_data;
    look->is_answered = TRUE;
    if (nlh->nlmsg_type != NLMSG_ERROR)
        look->result = nftnl_set_nlmsg_parse(nlh, look->set) == 0 ? look->result : EBADMSG;
    else if (look->result == 0)
        look->result = sami_linux_errno(nlh);
}

static int
read_set_expression(struct nftnl_expr *e, void *data)
{
    SamiSetInfo *info = data;
    const gchar *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
    if (g_strcmp0(name, "counter") == 0) {
        info->has |= SAMI_SET_HAS_COUNTER;
    } else if (g_strcmp0(name, "quota") == 0) {
        info->has |= SAMI_SET_HAS_QUOTA | (nftnl_expr_get_u32(e, NFTNL_EXPR_QUOTA_FLAGS) & NFT_QUOTA_F_INV ? SAMI_SET_QUOTA_OVER : 0);
        info->quota_limit = nftnl_expr_get_u64(e, NFTNL_EXPR_QUOTA_BYTES);
    } else {
        info->has |= SAMI_SET_HAS_OTHER;
    }
    return 0;
}

static SamiSetStatus
read_info(const SamiSet *set, struct nftnl_set *s, SamiSetInfo *ret, GError **error)
{
    guint32 flags = nftnl_set_get_u32(s, NFTNL_SET_FLAGS), length = nftnl_set_get_u32(s, NFTNL_SET_KEY_LEN);
    const gchar *why = flags & NFT_SET_INTERVAL                ? "it has intervals, whose elements packets do not make"
                       : flags & (NFT_SET_MAP | NFT_SET_OBJECT) ? "it is a map"
                       : flags & NFT_SET_CONSTANT               ? "it is constant"
                       : length == 0 || length > SAMI_SET_KEY_MAX ? "its keys are too long"
                                                                  : NULL;
    if (why) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "set '%s' cannot be carried: %s", set->title, why);
        return SAMI_SET_UNFIT;
    }
    *ret = (SamiSetInfo){ .key_type = nftnl_set_get_u32(s, NFTNL_SET_KEY_TYPE), .key_length = (guint8) length,
                          .has_timeouts = (flags & NFT_SET_TIMEOUT) != 0 };
    if (nftnl_set_is_set(s, NFTNL_SET_TIMEOUT))
        ret->timeout_ms = nftnl_set_get_u64(s, NFTNL_SET_TIMEOUT);
    if (nftnl_set_is_set(s, NFTNL_SET_DESC_SIZE))
        ret->size = nftnl_set_get_u32(s, NFTNL_SET_DESC_SIZE);
    nftnl_set_expr_foreach(s, read_set_expression, ret);
    return SAMI_SET_FINE;
}

SamiSetStatus
sami_set_look(SamiSet *set, SamiSetInfo *ret, GError **error)
{
    gchar request[GET_MAX + 2 * NFT_NAME_MAXLEN];
    Look look = { .set = make_set(set) };
    SamiSetStatus status;
    struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(request, NFT_MSG_GETSET, set->family, NLM_F_ACK, ++set->sequence);
    nftnl_set_nlmsg_build_payload(nlh, look.set);
    int result = ask(set, nlh, nlh->nlmsg_len, on_look, &look);
    result = result ? result : look.is_answered ? look.result : EPROTO;
    if (result == 0) {
        status = read_info(set, look.set, ret, error);
    } else {
        status = result == ENOENT ? SAMI_SET_MISSING : SAMI_SET_FAILED;
        g_set_error(error, SAMI_ERROR, result == EPERM ? SAMI_ERROR_PERMISSION : SAMI_ERROR_KERNEL, "set '%s': %s", set->title,
                    result == ENOENT ? "there is none of this name" : g_strerror(result));
    }
    nftnl_set_free(look.set);
    return status;
}

/* Elements. */

static int
read_expression(struct nftnl_expr *e, void *data)
{
    SamiSetElement *element = data;
    const gchar *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
    if (g_strcmp0(name, "counter") == 0) {
        element->has |= SAMI_SET_HAS_COUNTER;
        element->packets = nftnl_expr_get_u64(e, NFTNL_EXPR_CTR_PACKETS);
        element->octets = nftnl_expr_get_u64(e, NFTNL_EXPR_CTR_BYTES);
    } else if (g_strcmp0(name, "quota") == 0) {
        element->has |= SAMI_SET_HAS_QUOTA | (nftnl_expr_get_u32(e, NFTNL_EXPR_QUOTA_FLAGS) & NFT_QUOTA_F_INV ? SAMI_SET_QUOTA_OVER : 0);
        element->quota_limit = nftnl_expr_get_u64(e, NFTNL_EXPR_QUOTA_BYTES);
        element->quota_used = nftnl_expr_get_u64(e, NFTNL_EXPR_QUOTA_CONSUMED);
    } else {
        element->has |= SAMI_SET_HAS_OTHER;
    }
    return 0;
}

/* FALSE: it is not one that packets count in. The kernel leaves a timeout out that is the set's, and has no expiration for one that stays. */
static gboolean
read_element(struct nftnl_set_elem *e, const SamiSetInfo *info, SamiSetElement *ret)
{
    guint32 length = 0;
    const void *key = nftnl_set_elem_get(e, NFTNL_SET_ELEM_KEY, &length);
    if (!key || length != info->key_length)
        return FALSE;
    memset(ret, 0, sizeof *ret);
    memcpy(ret->key, key, length);
    ret->key_length = (guint8) length;
    if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_EXPIRATION)) {
        ret->has |= SAMI_SET_HAS_TIMEOUT;
        ret->remaining_ms = nftnl_set_elem_get_u64(e, NFTNL_SET_ELEM_EXPIRATION);
        ret->timeout_ms = nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_TIMEOUT) ? nftnl_set_elem_get_u64(e, NFTNL_SET_ELEM_TIMEOUT)
                                                                            : info->timeout_ms;
    }
    nftnl_set_elem_expr_foreach(e, read_expression, ret);
    return TRUE;
}

typedef struct {
    const SamiSetInfo *info;
    SamiSetFunc func;
    gpointer user_data;
} Walk;

static int
on_element(struct nftnl_set_elem *e, void *data)
{
    const Walk *walk = data;
    SamiSetElement element;
    if (read_element(e, walk->info, &element))
        walk->func(&element, walk->user_data);
    return 0;
}

static gboolean
read_elements(const struct nlmsghdr *nlh, const SamiSetInfo *info, SamiSetFunc func, gpointer user_data)
{
    Walk walk = { info, func, user_data };
    struct nftnl_set *s = nftnl_set_alloc();
    gboolean is_read = nftnl_set_elems_nlmsg_parse(nlh, s) == 0;
    if (is_read)
        nftnl_set_elem_foreach(s, on_element, &walk);
    nftnl_set_free(s);
    return is_read;
}

void
sami_set_dump_stop(SamiSet *set)
{
    if (set->dump)
        mnl_socket_close(set->dump);
    set->dump = NULL;
}

static gboolean
fail(const SamiSet *set, const gchar *what, int result, GError **error)
{
    g_set_error(error, SAMI_ERROR, result == EPERM ? SAMI_ERROR_PERMISSION : SAMI_ERROR_KERNEL, "set '%s': %s: %s", set->title, what,
                g_strerror(result));
    return FALSE;
}

gboolean
sami_set_dump_start(SamiSet *set, const SamiSetInfo *info, GError **error)
{
    gchar request[GET_MAX + 2 * NFT_NAME_MAXLEN];
    sami_set_dump_stop(set);
    if (!(set->dump = sami_linux_socket(0, RECEIVE_BUFFER, error)))
        return FALSE;
    struct nftnl_set *s = make_set(set);
    struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(request, NFT_MSG_GETSETELEM, set->family, NLM_F_DUMP, ++set->sequence);
    nftnl_set_elems_nlmsg_build_payload(nlh, s);
    nftnl_set_free(s);
    set->dumped = *info;
    if (mnl_socket_sendto(set->dump, nlh, nlh->nlmsg_len) >= 0)
        return TRUE;
    int result = errno;
    sami_set_dump_stop(set);
    return fail(set, "dump", result, error);
}

SamiSetDumpStatus
sami_set_dump_next(SamiSet *set, SamiSetFunc func, gpointer user_data, GError **error)
{
    ssize_t n;
    while ((n = mnl_socket_recvfrom(set->dump, set->buffer, PART_MAX)) < 0 && errno == EINTR)
        ;
    int left = (int) n, result = n < 0 ? errno : 0;
    for (const struct nlmsghdr *nlh = (const void *) set->buffer; result == 0 && mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
        if (nlh->nlmsg_type == NLMSG_DONE) {
            sami_set_dump_stop(set);
            return SAMI_SET_DUMP_END;
        }
        if (nlh->nlmsg_type == NLMSG_ERROR)
            result = sami_linux_errno(nlh);
        else if (!read_elements(nlh, &set->dumped, func, user_data))
            result = EBADMSG;
    }
    if (result == 0)
        return SAMI_SET_DUMP_MORE;
    sami_set_dump_stop(set);
    fail(set, "dump", result, error);
    return SAMI_SET_DUMP_BAD;
}

typedef struct {
    const SamiSetInfo *info;
    guint32 first; /* sequence number of the first request */
    guint n;
    SamiSetElement *ret;
    gboolean *found;
    SamiSetElement *place; /* of the message that is being read */
    gboolean *is_found;
    guint n_answers;
    int result;
} Get;

static void
on_got(const SamiSetElement *element, gpointer user_data)
{
    Get *get = user_data;
    *get->place = *element;
    *get->is_found = TRUE;
}

static void
on_get(const struct nlmsghdr *nlh, gpointer user_data)
{
    Get *get = user_data;
    guint32 i = nlh->nlmsg_seq - get->first;
    if (i >= get->n)
        return;
    get->n_answers++;
    get->place = &get->ret[i];
    get->is_found = &get->found[i];
    int result = nlh->nlmsg_type == NLMSG_ERROR                              ? sami_linux_errno(nlh)
                 : read_elements(nlh, get->info, on_got, get) ? 0 : EBADMSG;
    if (result != 0 && result != ENOENT && get->result == 0)
        get->result = result;
}

/* A request for each, because one for several ends at the first that is not there. */
static int
get_some(SamiSet *set, const SamiSetInfo *info, const SamiSetElement *wanted, guint n, SamiSetElement *ret, gboolean *found)
{
    g_autofree gchar *requests = g_malloc(n * (gsize) (GET_MAX + 2 * NFT_NAME_MAXLEN));
    gsize length = 0;
    Get get = { .info = info, .first = set->sequence + 1, .n = n, .ret = ret, .found = found };
    for (guint i = 0; i < n; i++) {
        struct nftnl_set *s = make_set(set);
        struct nftnl_set_elem *e = nftnl_set_elem_alloc();
        nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, wanted[i].key, info->key_length);
        nftnl_set_elem_add(s, e);
        struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(requests + length, NFT_MSG_GETSETELEM, set->family, 0, ++set->sequence);
        nftnl_set_elems_nlmsg_build_payload(nlh, s);
        length += MNL_ALIGN(nlh->nlmsg_len);
        nftnl_set_free(s);
    }
    for (guint i = 0; i < n; i++) {
        SamiSetElement bare = { .key_length = info->key_length };
        memcpy(bare.key, wanted[i].key, sizeof bare.key);
        ret[i] = bare;
        found[i] = FALSE;
    }
    int result = ask(set, requests, length, on_get, &get);
    return result ? result : get.result ? get.result : get.n_answers == n ? 0 : ENOBUFS;
}

gboolean
sami_set_get(SamiSet *set, const SamiSetInfo *info, const SamiSetElement *wanted, guint n, SamiSetElement *ret, gboolean *found,
             GError **error)
{
    for (guint i = 0; i < n; i += GETS) {
        int result = get_some(set, info, wanted + i, MIN(GETS, n - i), ret + i, found + i);
        if (result != 0)
            return fail(set, "look-up", result, error);
    }
    return TRUE;
}

/* Writing. */

static struct nftnl_expr *
make_counter(const SamiSetElement *element)
{
    struct nftnl_expr *e = nftnl_expr_alloc("counter");
    nftnl_expr_set_u64(e, NFTNL_EXPR_CTR_PACKETS, element->packets);
    nftnl_expr_set_u64(e, NFTNL_EXPR_CTR_BYTES, element->octets);
    return e;
}

static struct nftnl_expr *
make_quota(const SamiSetElement *element)
{
    struct nftnl_expr *e = nftnl_expr_alloc("quota");
    nftnl_expr_set_u64(e, NFTNL_EXPR_QUOTA_BYTES, element->quota_limit);
    nftnl_expr_set_u64(e, NFTNL_EXPR_QUOTA_CONSUMED, element->quota_used);
    nftnl_expr_set_u32(e, NFTNL_EXPR_QUOTA_FLAGS, element->has & SAMI_SET_QUOTA_OVER ? NFT_QUOTA_F_INV : 0);
    return e;
}

static struct nftnl_set_elem *
make_element(const SamiSetInfo *info, const SamiSetElement *element, gboolean is_bare)
{
    struct nftnl_set_elem *e = nftnl_set_elem_alloc();
    nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, element->key, info->key_length);
    if (is_bare)
        return e;
    if (info->has_timeouts && (element->has & SAMI_SET_HAS_TIMEOUT)) {
        /* nf_tables_api.c: ERANGE if it expires later than its timeout allows. */
        guint64 remaining_ms = MAX(element->remaining_ms, 1u), timeout_ms = MAX(element->timeout_ms, remaining_ms);
        if (timeout_ms != info->timeout_ms)
            nftnl_set_elem_set_u64(e, NFTNL_SET_ELEM_TIMEOUT, timeout_ms);
        nftnl_set_elem_set_u64(e, NFTNL_SET_ELEM_EXPIRATION, remaining_ms);
    }
    /* The order of the set's own expressions: nft writes a counter before a quota, and the kernel compares one by one. */
    if (element->has & SAMI_SET_HAS_COUNTER)
        nftnl_set_elem_add_expr(e, make_counter(element));
    if (element->has & SAMI_SET_HAS_QUOTA)
        nftnl_set_elem_add_expr(e, make_quota(element));
    return e;
}

typedef gboolean (*WantFunc)(const SamiSetWrite *write);

static gboolean
is_deleted(const SamiSetWrite *write)
{
    return write->is_there;
}

static gboolean
is_added(const SamiSetWrite *write)
{
    return !write->is_gone;
}

/* Messages of one kind for all writes that `wants` names. */
static guint8 *
add_messages(SamiSet *set, const SamiSetInfo *info, const SamiSetWrite *writes, guint n, guint16 type, WantFunc wants, guint8 *at)
{
    for (guint i = 0; i < n;) {
        struct nftnl_set *s = make_set(set);
        guint n_elements = 0;
        for (; i < n && n_elements < MESSAGE_ELEMENTS; i++)
            if (wants(&writes[i])) {
                nftnl_set_elem_add(s, make_element(info, writes[i].element, type == NFT_MSG_DELSETELEM));
                n_elements++;
            }
        if (n_elements > 0) {
            struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr((char *) at, type, set->family,
                                                         (guint16) (type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE | NLM_F_EXCL : 0), ++set->sequence);
            nftnl_set_elems_nlmsg_build_payload(nlh, s);
            at += MNL_ALIGN(nlh->nlmsg_len);
        }
        nftnl_set_free(s);
    }
    return at;
}

static void
on_written(const struct nlmsghdr *nlh, gpointer user_data)
{
    int *result = user_data;
    if (nlh->nlmsg_type == NLMSG_ERROR && *result == 0)
        *result = sami_linux_errno(nlh);
}

static int
transact(SamiSet *set, const SamiSetInfo *info, const SamiSetWrite *writes, guint n)
{
    g_autofree guint8 *batch = g_malloc(2 * (gsize) (n / MESSAGE_ELEMENTS + 1) * MESSAGE_MAX + 2 * GET_MAX);
    guint8 *at = batch;
    int failure = 0;
    at += MNL_ALIGN(nftnl_batch_begin((char *) at, ++set->sequence)->nlmsg_len);
    at = add_messages(set, info, writes, n, NFT_MSG_DELSETELEM, is_deleted, at);
    at = add_messages(set, info, writes, n, NFT_MSG_NEWSETELEM, is_added, at);
    at += MNL_ALIGN(nftnl_batch_end((char *) at, ++set->sequence)->nlmsg_len);
    int result = ask(set, batch, (gsize) (at - batch), on_written, &failure);
    return result ? result : failure;
}

/* Less than was written: it is another one. Of an element without counters there is no telling, and a twin of it does no harm: it blocks as well, and
 * when it has expired, ours is found. */
static gboolean
is_younger(const SamiSetElement *got, const SamiSetElement *written)
{
    return got->packets < written->packets || got->octets < written->octets || got->quota_used < written->quota_used;
}

/* nft_rhash_update() looks for elements that are active in both generations, so a packet that comes while a transaction runs finds neither the old
 * nor the new one and makes a twin, which hides ours. Deleting takes the one that is found first, and makes no further twin: ours is active in
 * both by now. What was counted in it is lost. */
static void
remove_twins(SamiSet *set, const SamiSetInfo *info, const SamiSetWrite *writes, guint n, guint64 *n_lost)
{
    g_autofree SamiSetElement *got = g_new(SamiSetElement, n);
    g_autofree gboolean *found = g_new(gboolean, n);
    g_autofree guint *left = g_new(guint, n); /* positions in `writes` */
    guint n_left = 0;
    for (guint i = 0; i < n; i++)
        if (!writes[i].is_gone)
            left[n_left++] = i;
    for (guint try = 0; n_left > 0 && try < TWINS; try++) {
        guint n_twins = 0;
        for (guint i = 0; i < n_left; i++)
            got[i] = *writes[left[i]].element;
        if (!sami_set_get(set, info, got, n_left, got, found, NULL))
            return;
        for (guint i = 0; i < n_left; i++) {
            SamiSetWrite twin = { &got[i], TRUE, TRUE };
            if (!found[i] || !is_younger(&got[i], writes[left[i]].element) || transact(set, info, &twin, 1) != 0)
                continue;
            *n_lost += got[i].packets;
            left[n_twins++] = left[i];
        }
        n_left = n_twins;
    }
}

/* One that packets have made at another time may be behind the one that is found: both become one. The caller's transaction is to be tried again. */
static void
merge_twins(SamiSet *set, const SamiSetInfo *info, const SamiSetElement *key, guint64 *n_lost)
{
    SamiSetElement first, second;
    gboolean found = FALSE;
    if (!sami_set_get(set, info, key, 1, &first, &found, NULL) || !found)
        return;
    SamiSetWrite away = { &first, TRUE, TRUE }, both = { &second, TRUE, FALSE };
    if (transact(set, info, &away, 1) != 0 || !sami_set_get(set, info, key, 1, &second, &found, NULL))
        return;
    if (!found)
        second = first;
    second.packets = first.packets + (found ? second.packets : 0);
    second.octets = first.octets + (found ? second.octets : 0);
    second.quota_used = first.quota_used + (found ? second.quota_used : 0);
    second.remaining_ms = MAX(first.remaining_ms, second.remaining_ms);
    both.is_there = found;
    if (transact(set, info, &both, 1) == 0)
        remove_twins(set, info, &both, 1, n_lost);
}

int
sami_set_write(SamiSet *set, const SamiSetInfo *info, const SamiSetWrite *writes, guint n, guint64 *ret_n_lost)
{
    guint64 n_lost = 0;
    int result = transact(set, info, writes, n);
    if (result == 0)
        remove_twins(set, info, writes, n, &n_lost);
    else if (result == EEXIST && n == 1 && writes->is_there)
        merge_twins(set, info, writes->element, &n_lost);
    if (ret_n_lost)
        *ret_n_lost += n_lost;
    return result;
}

/* Keys. */

guint
sami_set_parts(guint32 key_type, guint8 key_length, SamiSetPart parts[SAMI_SET_PARTS_MAX])
{
    guint n = 0, at = 0;
    for (gint shift = 6 * (gint) (SAMI_SET_PARTS_MAX - 1); shift >= 0; shift -= 6) {
        guint8 type = (key_type >> shift) & 0x3f;
        if (type == 0 && n == 0)
            continue;
        if (type_lengths[type] == 0)
            return 0;
        parts[n++] = (SamiSetPart){ type, (guint8) at, type_lengths[type] };
        at += (type_lengths[type] + 3u) & ~3u;
    }
    gboolean is_whole = n == 1 ? parts[0].length == key_length : at == key_length;
    return is_whole ? n : 0;
}

static gboolean
read_address(const SamiSetPart *part, const guint8 *key, guint8 *ret_family, SamiAddress *ret_address)
{
    if (part->type != TYPE_IPV4 && part->type != TYPE_IPV6)
        return FALSE;
    *ret_family = part->type == TYPE_IPV4 ? 4 : 6;
    memset(ret_address, 0, sizeof *ret_address);
    memcpy(ret_address->octets, key + part->at, part->length);
    return TRUE;
}

gboolean
sami_set_key_address(guint32 key_type, const guint8 *key, guint8 key_length, guint8 *ret_family, SamiAddress *ret_address)
{
    SamiSetPart parts[SAMI_SET_PARTS_MAX];
    guint n = sami_set_parts(key_type, key_length, parts);
    for (guint i = 0; i < n; i++)
        if (read_address(&parts[i], key, ret_family, ret_address))
            return TRUE;
    return FALSE;
}

gboolean
sami_set_key_is_of(guint32 key_type, const guint8 *key, guint8 key_length, const SamiPrefix *prefixes, guint n_prefixes)
{
    SamiSetPart parts[SAMI_SET_PARTS_MAX];
    SamiAddress address;
    guint8 family;
    guint n = sami_set_parts(key_type, key_length, parts);
    for (guint i = 0; i < n; i++)
        if (read_address(&parts[i], key, &family, &address) && sami_prefixes_contain(prefixes, n_prefixes, family, &address))
            return TRUE;
    return FALSE;
}

gchar *
sami_set_key_print(guint32 key_type, const guint8 *key, guint8 key_length)
{
    SamiSetPart parts[SAMI_SET_PARTS_MAX], whole = { 0, 0, key_length };
    guint n = sami_set_parts(key_type, key_length, parts);
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < MAX(n, 1u); i++) {
        const SamiSetPart *part = n ? &parts[i] : &whole;
        gchar address[INET6_ADDRSTRLEN];
        const guint8 *at = key + part->at;
        g_string_append(text, i ? " . " : "");
        if (part->type == TYPE_IPV4 || part->type == TYPE_IPV6)
            g_string_append(text, inet_ntop(part->type == TYPE_IPV4 ? AF_INET : AF_INET6, at, address, sizeof address));
        else if (part->type == TYPE_SERVICE)
            g_string_append_printf(text, "%u", (guint) (at[0] << 8 | at[1]));
        else
            for (guint k = 0; k < part->length; k++)
                g_string_append_printf(text, "%02x", at[k]);
    }
    return g_string_free(text, FALSE);
}
