#include "common/value.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/limits.h"

typedef struct {
    const gchar *name;
    guint64 ms;
} Unit;

static const Unit units[] = {
    {"d", 24 * 60 * 60 * 1000ull},
    {"h", 60 * 60 * 1000ull},
    {"m", 60 * 1000ull},
    {"s", 1000},
    {"ms", 1},
};

/* Rejects what the operator typed, quoted and with control characters escaped. */
static gboolean refuse(GError **error, const gchar *text, const gchar *format, ...)
    G_GNUC_PRINTF(3, 4);

static gboolean
refuse(GError **error, const gchar *text, const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree gchar *rule = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree gchar *quoted = g_strescape(text, NULL);
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "'%.80s' %s", quoted, rule);
    return FALSE;
}

guint
sami_value_control_length(const gchar *at)
{
    const guchar *octets = (const guchar *)at;
    if (octets[0] < 0x20 || octets[0] == 0x7f)
        return 1;
    return octets[0] == 0xc2 && octets[1] >= 0x80 && octets[1] <= 0x9f ? 2 : 0;
}

gboolean
sami_value_has_control(const gchar *text)
{
    while (*text && sami_value_control_length(text) == 0)
        text++;
    return *text != '\0';
}

void
sami_value_mask_controls(gchar *text)
{
    for (gchar *at = text; *at; at++)
        if (*at != '\n')
            memset(at, '?', sami_value_control_length(at));
}

gchar *
sami_value_duration_print(guint64 ms)
{
    for (guint i = 0; ms && i < G_N_ELEMENTS(units); i++)
        if (ms % units[i].ms == 0)
            return g_strdup_printf("%" G_GUINT64_FORMAT "%s", ms / units[i].ms, units[i].name);
    return g_strdup("0s");
}

gboolean
sami_value_duration(const gchar *text, guint64 min_ms, guint64 max_ms, guint64 *ret_ms,
                    GError **error)
{
    g_autofree gchar *least = sami_value_duration_print(min_ms);
    g_autofree gchar *most = sami_value_duration_print(max_ms);
    gsize n_digits = strspn(text, "0123456789");
    guint64 ms = 0;
    gboolean is_known = n_digits > 0 && n_digits < 12 && !strcmp(text, "0");
    for (guint i = 0; n_digits > 0 && n_digits < 12 && i < G_N_ELEMENTS(units); i++) {
        if (strcmp(text + n_digits, units[i].name) != 0)
            continue;
        /* At most 11 digits times 86400000 stays far below 2^64. */
        ms = g_ascii_strtoull(text, NULL, 10) * units[i].ms;
        is_known = TRUE;
    }
    if (!is_known)
        return refuse(error, text,
                      "is no duration; allowed: %s to %s, written like 500ms, 2s, 10m, 1h or 7d",
                      least, most);
    if (ms < min_ms || ms > max_ms)
        return refuse(error, text, "is out of range; allowed: %s to %s", least, most);
    *ret_ms = ms;
    return TRUE;
}

gboolean
sami_value_size(const gchar *text, guint64 min, guint64 max, guint64 *ret, GError **error)
{
    static const gchar letters[] = "KMGT";
    gsize n_digits = strspn(text, "0123456789");
    const gchar *letter = text[n_digits] ? strchr(letters, text[n_digits]) : NULL;
    guint shift = letter ? 10 * (guint)(letter - letters + 1) : 0;
    gboolean is_size = n_digits > 0 && n_digits < 16 && (text[n_digits] == '\0' || (letter && !text[n_digits + 1]));
    guint64 number = is_size ? g_ascii_strtoull(text, NULL, 10) : 0;
    if (!is_size)
        return refuse(error, text, "is no size; allowed: octets, or a number with K, M, G or T");
    if (number > (guint64) G_MAXINT64 >> shift || number << shift < min || number << shift > max)
        return refuse(error, text, "is out of range");
    *ret = number << shift;
    return TRUE;
}

gboolean
sami_value_uint(const gchar *text, guint64 min, guint64 max, guint64 *ret, GError **error)
{
    gboolean is_hex = g_str_has_prefix(text, "0x");
    guint64 value = 0;
    if (!g_ascii_string_to_unsigned(is_hex ? text + 2 : text, is_hex ? 16 : 10, min, max, &value,
                                    NULL))
        return refuse(error, text,
                      "is not allowed here; allowed: a number from %" G_GUINT64_FORMAT
                      " to %" G_GUINT64_FORMAT,
                      min, max);
    *ret = value;
    return TRUE;
}

gboolean
sami_value_bool(const gchar *text, gboolean *ret, GError **error)
{
    gboolean is_true = !strcmp(text, "true");
    if (!is_true && strcmp(text, "false") != 0)
        return refuse(error, text, "is no boolean; allowed: true or false");
    *ret = is_true;
    return TRUE;
}

static const struct {
    const gchar *name;
    guint8 number;
} protocols[] = {
    {"tcp", 6},       {"udp", 17},  {"icmp", 1},  {"icmpv6", 58}, {"sctp", 132}, {"gre", 47},
    {"udplite", 136}, {"dccp", 33}, {"esp", 50},  {"ah", 51},     {"ipip", 4},   {"ipv6", 41},
    {"igmp", 2},      {"ospf", 89}, {"pim", 103}, {"vrrp", 112},  {"l2tp", 115},
};

gboolean
sami_value_protocol(const gchar *text, guint64 *ret_number, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(protocols); i++)
        if (!strcmp(protocols[i].name, text)) {
            *ret_number = protocols[i].number;
            return TRUE;
        }
    return g_ascii_isdigit(*text) ? sami_value_uint(text, 1, 255, ret_number, error)
                                  : refuse(error, text, "is no protocol; allowed: tcp, udp, icmp, icmpv6, sctp, gre, esp and the like, or a number from 1 to 255");
}

static gboolean
parse_range(const gchar *text, guint64 max, guint16 ret_range[2])
{
    const gchar *dash = strchr(text, '-');
    g_autofree gchar *low = g_strndup(text, dash ? (gsize)(dash - text) : strlen(text));
    guint64 first, last;
    if (!sami_value_uint(low, 0, max, &first, NULL) || !sami_value_uint(dash ? dash + 1 : low, 0, max, &last, NULL) || first > last)
        return FALSE;
    ret_range[0] = (guint16)first;
    ret_range[1] = (guint16)last;
    return TRUE;
}

gboolean
sami_value_ports(const gchar *text, guint16 ret_range[2], GError **error)
{
    return parse_range(text, 65535, ret_range) || refuse(error, text, "is no port; allowed: 0 to 65535, or a range such as 8000-8999");
}

gboolean
sami_value_labels(const gchar *text, guint16 ret_range[2], GError **error)
{
    return parse_range(text, 127, ret_range) || refuse(error, text, "is no label; allowed: 0 to 127, or a range such as 0-15");
}

gboolean
sami_value_word(const gchar *text, gsize max, GError **error)
{
    gsize length = strlen(text);
    gboolean is_good = length > 0 && length <= max;
    for (gsize i = 0; is_good && i < length; i++)
        is_good = g_ascii_isalnum(text[i]) || strchr("-_.", text[i]);
    return is_good || refuse(error, text, "is no such name; allowed: at most %zu letters, digits, '-', '_' and '.'", max);
}

gboolean
sami_value_time(const gchar *text, gint64 *ret_s, GError **error)
{
    g_autofree gchar *whole = strlen(text) == 10 ? g_strconcat(text, "T00:00:00Z", NULL) : g_strdup(text);
    g_autoptr(GDateTime) time = g_str_has_suffix(whole, "Z") && strlen(whole) == 20 ? g_date_time_new_from_iso8601(whole, NULL) : NULL;
    if (!time || g_date_time_to_unix(time) <= 0)
        return refuse(error, text, "is no moment; allowed: UTC, such as 2026-12-31T23:59:59Z or 2026-12-31");
    *ret_s = g_date_time_to_unix(time);
    return TRUE;
}

gchar *
sami_value_time_print(gint64 s)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(s);
    return time ? g_date_time_format(time, "%FT%TZ") : g_strdup("?");
}

static gboolean
is_label(const gchar *label)
{
    gsize length = strlen(label);
    return length >= 1 && length <= 63 &&
           strspn(label, "abcdefghijklmnopqrstuvwxyz0123456789-") == length && label[0] != '-' &&
           label[length - 1] != '-';
}

gboolean
sami_value_name(const gchar *text, GError **error)
{
    g_auto(GStrv) labels = g_strsplit(text, ".", -1);
    gboolean is_good = labels[0] && strlen(text) <= SAMI_NAME_MAX;
    for (guint i = 0; is_good && labels[i]; i++)
        is_good = is_label(labels[i]);
    if (!is_good)
        return refuse(error, text,
                      "is no DNS name; allowed: lower-case letters, digits, hyphens and dots, "
                      "at most %u octets, such as fw1.example",
                      SAMI_NAME_MAX);
    return TRUE;
}

gboolean
sami_value_endpoint(const gchar *text, GError **error)
{
    const gchar *colon = strrchr(text, ':');
    guint64 port = 0;
    gboolean is_good = colon && g_ascii_string_to_unsigned(colon + 1, 10, 1, 65535, &port, NULL);
    if (is_good && text[0] == '[') {
        g_autofree gchar *host = g_strndup(text + 1, (gsize)(colon - text - 1));
        gsize length = strlen(host);
        struct in6_addr address;
        is_good = length > 0 && host[length - 1] == ']';
        if (is_good)
            host[length - 1] = '\0';
        is_good = is_good && inet_pton(AF_INET6, host, &address) == 1;
    } else if (is_good) {
        g_autofree gchar *host = g_ascii_strdown(text, colon - text);
        is_good = sami_value_name(host, NULL);
    }
    if (!is_good)
        return refuse(
            error, text,
            "is no address with port; allowed: host:port, 192.0.2.1:4740 or [2001:db8::1]:4740");
    return TRUE;
}

static gboolean
has_bits_beyond(const guint8 *octets, guint n_bits, guint length)
{
    for (guint i = length; i < n_bits; i++)
        if (octets[i / 8] & (0x80 >> (i % 8)))
            return TRUE;
    return FALSE;
}

gboolean
sami_value_address(const gchar *text, gboolean has_length, GError **error)
{
    const gchar *slash = strchr(text, '/');
    g_autofree gchar *address = slash ? g_strndup(text, (gsize)(slash - text)) : g_strdup(text);
    guint8 octets[16];
    gboolean is_v4 = inet_pton(AF_INET, address, octets) == 1;
    gboolean is_good = is_v4 || inet_pton(AF_INET6, address, octets) == 1;
    guint64 length = 0;
    if (slash)
        is_good = is_good && has_length &&
                  g_ascii_string_to_unsigned(slash + 1, 10, 0, is_v4 ? 32 : 128, &length, NULL);
    if (!is_good)
        return refuse(
            error, text,
            has_length ? "is no address or prefix; allowed: 10.0.0.13, 10.0.0.0/24, 2001:db8::/64"
                       : "is no address; allowed: 10.0.0.13 or 2001:db8::13");
    /* One host was meant, or all of its network: who can tell. */
    if (slash && has_bits_beyond(octets, is_v4 ? 32 : 128, (guint)length))
        return refuse(error, text, "has bits set beyond its length; allowed: the address alone, or its network, such as 10.0.0.13 or 10.0.0.0/24");
    return TRUE;
}

GStrv
sami_value_list(const gchar *text, GError **error)
{
    g_auto(GStrv) list = g_strsplit(text, ",", -1);
    if (list[0] && !list[1] && !*g_strstrip(list[0])) {
        g_clear_pointer(&list, g_strfreev);
        return g_new0(gchar *, 1);
    }
    for (guint i = 0; list[i]; i++) {
        if (!*g_strstrip(list[i])) {
            refuse(error, text,
                   "has an empty element; allowed: elements separated by single commas");
            return NULL;
        }
    }
    return g_steal_pointer(&list);
}

GStrv
sami_value_endpoints(const gchar *text, GError **error)
{
    g_auto(GStrv) list = sami_value_list(text, error);
    guint n = list ? g_strv_length(list) : 0;
    if (!list)
        return NULL;
    if (n == 0 || n > SAMI_PEER_ADDRESSES_MAX) {
        refuse(error, text, "has %u addresses; allowed: 1 to %u, such as 192.0.2.1:4740,198.51.100.1:4740", n, SAMI_PEER_ADDRESSES_MAX);
        return NULL;
    }
    for (guint i = 0; i < n; i++)
        if (!sami_value_endpoint(list[i], error))
            return NULL;
    return g_steal_pointer(&list);
}
