/* sami-table: fills, counts, empties, saves and compares connection tables. For tests. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tools/kernel-table.h"

#define SHOWN 20u /* differences that are named; the rest is counted */

/* ---- a table in memory ---- */

typedef struct {
    gsize at; /* of the message in `octets` */
    double received;
} Entry;

typedef struct {
    GByteArray *octets;
    GArray *entries; /* of Entry, sorted by the key */
} Table;

static void
take(const struct nlmsghdr *nlh, double received, gpointer user_data)
{
    Table *table = user_data;
    Entry entry = { table->octets->len, received };
    g_byte_array_append(table->octets, (const guint8 *) nlh, MNL_ALIGN(nlh->nlmsg_len));
    g_array_append_val(table->entries, entry);
}

static const struct nlmsghdr *
message(const Table *table, guint i)
{
    return (const struct nlmsghdr *) (const void *) (table->octets->data + g_array_index(table->entries, Entry, i).at);
}

static guint8
family_of(const struct nlmsghdr *nlh)
{
    return ((const struct nfgenmsg *) mnl_nlmsg_get_payload(nlh))->nfgen_family;
}

static const struct nlattr *
find(const struct nlmsghdr *nlh, guint type)
{
    const struct nlattr *attr;
    mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg)) if (mnl_attr_get_type(attr) == type) return attr;
    return NULL;
}

static const struct nlattr *
find_in(const struct nlattr *nest, guint type)
{
    const struct nlattr *attr;
    if (!nest)
        return NULL;
    mnl_attr_for_each_nested(attr, nest) if (mnl_attr_get_type(attr) == type) return attr;
    return NULL;
}

static int
compare_attributes(const struct nlattr *a, const struct nlattr *b)
{
    guint na = a ? mnl_attr_get_payload_len(a) : 0, nb = b ? mnl_attr_get_payload_len(b) : 0;
    int order = MIN(na, nb) ? memcmp(mnl_attr_get_payload(a), mnl_attr_get_payload(b), MIN(na, nb)) : 0;
    return order ? order : (int) na - (int) nb;
}

/* The kernel writes the attributes of a tuple in one order, so its octets name the flow. */
static int
compare_keys(const struct nlmsghdr *a, const struct nlmsghdr *b)
{
    if (family_of(a) != family_of(b))
        return (int) family_of(a) - (int) family_of(b);
    int order = compare_attributes(find(a, CTA_TUPLE_ORIG), find(b, CTA_TUPLE_ORIG));
    return order ? order : compare_attributes(find(a, CTA_ZONE), find(b, CTA_ZONE));
}

static gint
compare_entries(gconstpointer a, gconstpointer b, gpointer user_data)
{
    const guint8 *octets = ((const Table *) user_data)->octets->data;
    return compare_keys((const struct nlmsghdr *) (const void *) (octets + ((const Entry *) a)->at),
                        (const struct nlmsghdr *) (const void *) (octets + ((const Entry *) b)->at));
}

static gboolean
read_file(Table *table, const gchar *path)
{
    double received;
    struct nlmsghdr header;
    guint8 buffer[65536];
    FILE *file = fopen(path, "re");
    if (!file)
        return FALSE;
    while (fread(&received, sizeof received, 1, file) == 1 && fread(&header, sizeof header, 1, file) == 1) {
        gsize length = MNL_ALIGN(header.nlmsg_len);
        if (length < sizeof header || length > sizeof buffer ||
            fread(buffer + sizeof header, length - sizeof header, 1, file) != 1)
            break;
        memcpy(buffer, &header, sizeof header);
        take((struct nlmsghdr *) (void *) buffer, received, table);
    }
    gboolean is_whole = feof(file) && !ferror(file);
    fclose(file);
    errno = is_whole ? 0 : EBADMSG;
    return is_whole;
}

/* A name with a slash is a file that `save` wrote, any other a namespace. */
static Table *
load(const gchar *name)
{
    Table *table = g_new0(Table, 1);
    table->octets = g_byte_array_new();
    table->entries = g_array_new(FALSE, FALSE, sizeof(Entry));
    if (!strchr(name, '/')) {
        table_enter(name);
        table_dump(take, table);
    } else if (!read_file(table, name)) {
        g_printerr("%s: %s\n", name, g_strerror(errno));
        exit(2);
    }
    g_array_sort_with_data(table->entries, compare_entries, table);
    return table;
}

static void
table_free(Table *table)
{
    g_byte_array_unref(table->octets);
    g_array_unref(table->entries);
    g_free(table);
}

/* ---- comparison ---- */

typedef struct {
    guint tolerance_s;
    guint n_differences; /* fields and entries */
    guint n_entries;     /* that have one */
    GHashTable *by_field; /* name -> count */
} Comparison;

static const gchar *
put_address(const struct nlattr *ip, gboolean is_v4, guint16 v4, guint16 v6, gchar text[INET6_ADDRSTRLEN])
{
    const struct nlattr *attr = find_in(ip, is_v4 ? v4 : v6);
    return attr ? inet_ntop(is_v4 ? AF_INET : AF_INET6, mnl_attr_get_payload(attr), text, INET6_ADDRSTRLEN) : "?";
}

static guint64
number(const struct nlattr *attr)
{
    guint64 value = 0;
    const guint8 *octets = attr ? mnl_attr_get_payload(attr) : NULL;
    for (guint i = 0; octets && i < MIN(mnl_attr_get_payload_len(attr), 8u); i++)
        value = value << 8 | octets[i];
    return value;
}

static gchar *
describe(const struct nlmsghdr *nlh)
{
    gchar src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
    gboolean is_v4 = family_of(nlh) == AF_INET;
    const struct nlattr *tuple = find(nlh, CTA_TUPLE_ORIG);
    const struct nlattr *ip = find_in(tuple, CTA_TUPLE_IP), *proto = find_in(tuple, CTA_TUPLE_PROTO);
    return g_strdup_printf("protocol %u src %s dst %s sport %u dport %u zone %u", (guint) number(find_in(proto, CTA_PROTO_NUM)),
                           put_address(ip, is_v4, CTA_IP_V4_SRC, CTA_IP_V6_SRC, src),
                           put_address(ip, is_v4, CTA_IP_V4_DST, CTA_IP_V6_DST, dst),
                           (guint) number(find_in(proto, CTA_PROTO_SRC_PORT)), (guint) number(find_in(proto, CTA_PROTO_DST_PORT)),
                           (guint) number(find(nlh, CTA_ZONE)));
}

static gchar *
hex(const struct nlattr *attr)
{
    GString *text = g_string_new(attr ? NULL : "none");
    for (guint i = 0; attr && i < mnl_attr_get_payload_len(attr); i++)
        g_string_append_printf(text, "%02x", ((const guint8 *) mnl_attr_get_payload(attr))[i]);
    return g_string_free(text, FALSE);
}

static void
differ(Comparison *c, const struct nlmsghdr *nlh, const gchar *field, gchar *a_take, gchar *b_take)
{
    g_autofree gchar *a = a_take, *b = b_take;
    guint n = GPOINTER_TO_UINT(g_hash_table_lookup(c->by_field, field));
    g_hash_table_insert(c->by_field, (gpointer) field, GUINT_TO_POINTER(n + 1));
    if (c->n_differences++ >= SHOWN)
        return;
    g_autofree gchar *flow = describe(nlh);
    g_print("%s: %s: %s, %s\n", flow, field, a, b);
}

static void
compare_numbers(Comparison *c, const struct nlmsghdr *nlh, const gchar *field, guint64 a, guint64 b)
{
    if (a != b)
        differ(c, nlh, field, g_strdup_printf("0x%" G_GINT64_MODIFIER "x", a), g_strdup_printf("0x%" G_GINT64_MODIFIER "x", b));
}

static gboolean
is_zero(const struct nlattr *attr)
{
    for (guint i = 0; attr && i < mnl_attr_get_payload_len(attr); i++)
        if (((const guint8 *) mnl_attr_get_payload(attr))[i])
            return FALSE;
    return TRUE;
}

static gboolean
is_zero_nest(const struct nlattr *nest)
{
    const struct nlattr *attr;
    if (nest)
        mnl_attr_for_each_nested(attr, nest) if (!is_zero(attr)) return FALSE;
    return TRUE;
}

/* Absent and zero are the same: an extension that the kernel allocates for a rule. */
static void
compare_octets(Comparison *c, const struct nlmsghdr *nlh, const gchar *field, const struct nlattr *a, const struct nlattr *b)
{
    if (compare_attributes(a, b) != 0 && !(is_zero(a) && is_zero(b)))
        differ(c, nlh, field, hex(a), hex(b));
}

/* The *_DONE bits say that NAT has looked at a flow; of a flow without translation they mean nothing. */
static guint64
restored_status(const struct nlmsghdr *nlh)
{
    guint64 status = number(find(nlh, CTA_STATUS));
    guint64 mask = IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED | IPS_SRC_NAT | IPS_DST_NAT | IPS_DYING | IPS_FIXED_TIMEOUT;
    if (status & (IPS_SRC_NAT | IPS_DST_NAT))
        mask |= IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE;
    return status & mask;
}

/* Bits above 0x07 describe what the kernel does not export, and 0x08 is the leniency that a migration sets for a while. */
static void
compare_tcp(Comparison *c, const struct nlmsghdr *nlh, const struct nlattr *a, const struct nlattr *b)
{
    static const gchar *const names[] = { "TCP flags", "TCP flags of the reply" };
    static const guint16 types[] = { CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, CTA_PROTOINFO_TCP_FLAGS_REPLY };
    compare_octets(c, nlh, "TCP state", find_in(a, CTA_PROTOINFO_TCP_STATE), find_in(b, CTA_PROTOINFO_TCP_STATE));
    for (guint d = 0; d < 2; d++)
        compare_numbers(c, nlh, names[d], number(find_in(a, types[d])) >> 8 & 0x07, number(find_in(b, types[d])) >> 8 & 0x07);
    compare_octets(c, nlh, "window scale", find_in(a, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL),
                   find_in(b, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL));
    compare_octets(c, nlh, "window scale of the reply", find_in(a, CTA_PROTOINFO_TCP_WSCALE_REPLY),
                   find_in(b, CTA_PROTOINFO_TCP_WSCALE_REPLY));
}

/* Timeouts run on while a table is read, so what is compared is when they end. */
static void
compare_timeouts(Comparison *c, const struct nlmsghdr *a, double at_a, const struct nlmsghdr *b, double at_b)
{
    guint32 left_a = (guint32) number(find(a, CTA_TIMEOUT)), left_b = (guint32) number(find(b, CTA_TIMEOUT));
    double difference = (at_b + left_b) - (at_a + left_a);
    if (difference > c->tolerance_s || difference < -(double) c->tolerance_s)
        differ(c, a, "timeout", g_strdup_printf("%u s", left_a), g_strdup_printf("%u s (%+.1f s)", left_b, difference));
}

static void
compare_pair(Comparison *c, const Table *ta, guint i, const Table *tb, guint k)
{
    static const struct {
        guint type;
        const gchar *name;
    } exact[] = {
        { CTA_TUPLE_REPLY, "reply tuple" },  { CTA_MARK, "mark" },           { CTA_LABELS, "labels" },
        { CTA_HELP, "helper" },              { CTA_TUPLE_MASTER, "master" }, { CTA_SEQ_ADJ_ORIG, "sequence adjustment" },
        { CTA_SEQ_ADJ_REPLY, "sequence adjustment of the reply" },           { CTA_SYNPROXY, "synproxy" },
    };
    const struct nlmsghdr *a = message(ta, i), *b = message(tb, k);
    const struct nlattr *info_a = find(a, CTA_PROTOINFO), *info_b = find(b, CTA_PROTOINFO);
    const struct nlattr *tcp_a = find_in(info_a, CTA_PROTOINFO_TCP), *tcp_b = find_in(info_b, CTA_PROTOINFO_TCP);
    guint before = c->n_differences;
    for (guint x = 0; x < G_N_ELEMENTS(exact); x++)
        if (exact[x].type != CTA_SYNPROXY || !is_zero_nest(find(a, CTA_SYNPROXY)) || !is_zero_nest(find(b, CTA_SYNPROXY)))
            compare_octets(c, a, exact[x].name, find(a, exact[x].type), find(b, exact[x].type));
    compare_numbers(c, a, "status", restored_status(a), restored_status(b));
    if (tcp_a || tcp_b)
        compare_tcp(c, a, tcp_a, tcp_b);
    else
        compare_octets(c, a, "protocol state", info_a, info_b);
    compare_timeouts(c, a, g_array_index(ta->entries, Entry, i).received, b, g_array_index(tb->entries, Entry, k).received);
    c->n_entries += c->n_differences > before;
}

/* A dump is no snapshot and can give an entry twice. */
static guint
next(const Table *table, guint i)
{
    guint k = i + 1;
    while (k < table->entries->len && compare_keys(message(table, i), message(table, k)) == 0)
        k++;
    return k;
}

static guint
miss(Comparison *c, const Table *table, guint i, const gchar *here, const gchar *there)
{
    differ(c, message(table, i), "entry", g_strdup(here), g_strdup(there));
    c->n_entries++;
    return next(table, i);
}

static int
compare(const gchar *name_a, const gchar *name_b, guint tolerance_s)
{
    Comparison c = { .tolerance_s = tolerance_s, .by_field = g_hash_table_new(g_str_hash, g_str_equal) };
    Table *a = load(name_a), *b = load(name_b);
    guint i = 0, k = 0, n_equal = 0;
    while (i < a->entries->len || k < b->entries->len) {
        int order = i == a->entries->len   ? 1
                    : k == b->entries->len ? -1
                                           : compare_keys(message(a, i), message(b, k));
        if (order < 0) {
            i = miss(&c, a, i, "there", "missing");
        } else if (order > 0) {
            k = miss(&c, b, k, "missing", "there");
        } else {
            guint before = c.n_differences;
            compare_pair(&c, a, i, b, k);
            n_equal += c.n_differences == before;
            i = next(a, i);
            k = next(b, k);
        }
    }
    GHashTableIter iter;
    gpointer field, n;
    g_hash_table_iter_init(&iter, c.by_field);
    while (g_hash_table_iter_next(&iter, &field, &n))
        g_print("different %s: %u\n", (const gchar *) field, GPOINTER_TO_UINT(n));
    g_print("entries %u %u equal %u different %u differences %u\n", a->entries->len, b->entries->len, n_equal, c.n_entries,
            c.n_differences);
    g_hash_table_unref(c.by_field);
    table_free(a);
    table_free(b);
    return c.n_differences > 0;
}

/* ---- one entry a line ---- */

static void
print_entry(const struct nlmsghdr *nlh, double received, gpointer user_data)
{
    g_autofree gchar *flow = describe(nlh);
    gchar src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
    gboolean is_v4 = family_of(nlh) == AF_INET;
    const struct nlattr *reply = find(nlh, CTA_TUPLE_REPLY), *ip = find_in(reply, CTA_TUPLE_IP), *proto = find_in(reply, CTA_TUPLE_PROTO);
    const struct nlattr *tcp = find_in(find(nlh, CTA_PROTOINFO), CTA_PROTOINFO_TCP);
    g_print("%s reply src %s dst %s sport %u dport %u status %x mark %x", flow,
            put_address(ip, is_v4, CTA_IP_V4_SRC, CTA_IP_V6_SRC, src), put_address(ip, is_v4, CTA_IP_V4_DST, CTA_IP_V6_DST, dst),
            (guint) number(find_in(proto, CTA_PROTO_SRC_PORT)), (guint) number(find_in(proto, CTA_PROTO_DST_PORT)),
            (guint) restored_status(nlh), (guint) number(find(nlh, CTA_MARK)));
    if (tcp)
        g_print(" state %u flags %02x/%02x wscale %u/%u", (guint) number(find_in(tcp, CTA_PROTOINFO_TCP_STATE)),
                (guint) number(find_in(tcp, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL)) >> 8,
                (guint) number(find_in(tcp, CTA_PROTOINFO_TCP_FLAGS_REPLY)) >> 8,
                (guint) number(find_in(tcp, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL)),
                (guint) number(find_in(tcp, CTA_PROTOINFO_TCP_WSCALE_REPLY)));
    g_print(" timeout %u\n", (guint) number(find(nlh, CTA_TIMEOUT)));
}

/* ---- strict again ---- */

static void
collect(const struct nlmsghdr *nlh, double received, gpointer user_data)
{
    if (find_in(find(nlh, CTA_PROTOINFO), CTA_PROTOINFO_TCP))
        take(nlh, received, user_data);
}

/* conntrack(8) creates TCP entries with lenient tracking; traffic creates strict ones. */
static int
make_strict(void)
{
    static const struct nf_ct_tcp_flags strict = { 0, IP_CT_TCP_FLAG_BE_LIBERAL };
    Table table = { g_byte_array_new(), g_array_new(FALSE, FALSE, sizeof(Entry)) };
    struct mnl_socket *nl = mnl_socket_open(NETLINK_NETFILTER);
    guint8 buffer[4096], answer[8192];
    guint n_failed = 0;
    if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
        perror("sami-table: netlink");
        return 2;
    }
    table_dump(collect, &table);
    for (guint i = 0; i < table.entries->len; i++) {
        const struct nlmsghdr *entry = message(&table, i);
        const struct nlattr *tuple = find(entry, CTA_TUPLE_ORIG), *zone = find(entry, CTA_ZONE);
        struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
        nlh->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;
        nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
        nlh->nlmsg_seq = i + 1;
        struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof *nfg);
        *nfg = (struct nfgenmsg){ .nfgen_family = family_of(entry), .version = NFNETLINK_V0 };
        mnl_attr_put(nlh, CTA_TUPLE_ORIG | NLA_F_NESTED, mnl_attr_get_payload_len(tuple), mnl_attr_get_payload(tuple));
        if (zone)
            mnl_attr_put(nlh, CTA_ZONE, mnl_attr_get_payload_len(zone), mnl_attr_get_payload(zone));
        struct nlattr *info = mnl_attr_nest_start(nlh, CTA_PROTOINFO), *tcp = mnl_attr_nest_start(nlh, CTA_PROTOINFO_TCP);
        mnl_attr_put(nlh, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, sizeof strict, &strict);
        mnl_attr_put(nlh, CTA_PROTOINFO_TCP_FLAGS_REPLY, sizeof strict, &strict);
        mnl_attr_nest_end(nlh, tcp);
        mnl_attr_nest_end(nlh, info);
        gssize n = mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0 ? -1 : mnl_socket_recvfrom(nl, answer, sizeof answer);
        n_failed += n < 0 || mnl_cb_run(answer, (gsize) n, i + 1, mnl_socket_get_portid(nl), NULL, NULL) < 0;
    }
    g_print("%u\n", table.entries->len - n_failed);
    mnl_socket_close(nl);
    g_byte_array_unref(table.octets);
    g_array_unref(table.entries);
    return n_failed > 0;
}

/* ---- command line ---- */

static void
save_entry(const struct nlmsghdr *nlh, double received, gpointer user_data)
{
    if (fwrite(&received, sizeof received, 1, user_data) != 1 || fwrite(nlh, MNL_ALIGN(nlh->nlmsg_len), 1, user_data) != 1) {
        perror("sami-table: save");
        exit(2);
    }
}

static int
save(const gchar *path)
{
    FILE *file = fopen(path, "we");
    if (!file) {
        g_printerr("sami-table: %s: %s\n", path, g_strerror(errno));
        return 2;
    }
    g_print("%u\n", table_dump(save_entry, file));
    return fclose(file) == 0 ? 0 : 2;
}

static int
fill(const TableFill *what)
{
    double seconds;
    int failure;
    TableBatches *batches = table_build(what);
    guint n_refused = table_inject(batches, &seconds, &failure);
    g_print("%.6f\n", seconds);
    if (n_refused > 0)
        g_printerr("sami-table: %u of %u refused, the first: %s\n", n_refused, what->n, g_strerror(failure));
    table_batches_free(batches);
    return n_refused > 0;
}

static gboolean
parse_kind(const gchar *text, TableKind *ret)
{
    static const gchar *const names[] = { "tcp", "nat", "mixed" };
    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        if (g_strcmp0(text, names[i]) == 0) {
            *ret = (TableKind) i;
            return TRUE;
        }
    return FALSE;
}

int
main(int argc, char **argv)
{
    gint family = 4, from = 0, tolerance = 2;
    g_autofree gchar *kind = NULL, *vm = NULL, *netns = NULL;
    const GOptionEntry entries[] = {
        { "netns", 'n', 0, G_OPTION_ARG_STRING, &netns, "act in this namespace", "NAME" },
        { "family", 'f', 0, G_OPTION_ARG_INT, &family, "fill: 4 (default) or 6", "4|6" },
        { "kind", 'k', 0, G_OPTION_ARG_STRING, &kind, "fill: tcp (default), nat or mixed", "KIND" },
        { "vm", 0, 0, G_OPTION_ARG_STRING, &vm, "fill: address of the VM", "ADDRESS" },
        { "from", 0, 0, G_OPTION_ARG_INT, &from, "fill: number of the first flow", "N" },
        { "tolerance", 't', 0, G_OPTION_ARG_INT, &tolerance, "compare: seconds between timeouts (default 2)", "S" },
        { NULL },
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) options =
        g_option_context_new("fill N | count | flush | print | strict | save FILE | compare NETNS-OR-FILE NETNS-OR-FILE");
    g_option_context_set_summary(options, "fill prints the seconds that the kernel needed. compare names the first differences "
                                          "and ends with 1 if there is one.");
    g_option_context_add_main_entries(options, entries, NULL);
    if (!g_option_context_parse(options, &argc, &argv, &error)) {
        g_printerr("sami-table: %s\n", error->message);
        return 2;
    }
    TableFill what = { .from = (guint) MAX(from, 0), .family = (guint8) family, .vm4 = vm && !strchr(vm, ':') ? vm : NULL,
                        .vm6 = vm && strchr(vm, ':') ? vm : NULL };
    const gchar *verb = argc > 1 ? argv[1] : "";
    if (netns)
        table_enter(netns);
    if (g_str_equal(verb, "fill") && argc == 3 && parse_kind(kind ? kind : "tcp", &what.kind) && (family == 4 || family == 6)) {
        what.n = (guint) g_ascii_strtoull(argv[2], NULL, 10);
        return fill(&what);
    }
    if (g_str_equal(verb, "count") && argc == 2)
        return g_print("%u\n", table_count()), 0;
    if (g_str_equal(verb, "flush") && argc == 2)
        return table_flush(), 0;
    if (g_str_equal(verb, "print") && argc == 2)
        return table_dump(print_entry, NULL), 0;
    if (g_str_equal(verb, "strict") && argc == 2)
        return make_strict();
    if (g_str_equal(verb, "save") && argc == 3)
        return save(argv[2]);
    if (g_str_equal(verb, "compare") && argc == 4)
        return compare(argv[2], argv[3], (guint) MAX(tolerance, 0));
    g_autofree gchar *help = g_option_context_get_help(options, TRUE, NULL);
    g_printerr("%s", help);
    return 2;
}
