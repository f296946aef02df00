#include "replay/filter.h"

#include <string.h>

#include "common/value.h"
#include "replay/names.h"

struct ReplayFilter {
    GArray *prefixes;  /* of SamiPrefix */
    GArray *ports, *protocols, *vlans; /* of guint16 */
    guint64 kinds;     /* bits of SamiRecordKind and those below; 0: all */
    gchar *migration;  /* beginning of its id in hex; NULL: any */
    gint64 since_s, until_s; /* 0, G_MAXINT64: no limit */
};

/* Kinds that are no SamiRecordKind. */
enum { KIND_SIGNATURE = 60, KIND_FOREIGN = 61, KIND_FOREIGN_OPTIONS = 62 };

/* Elements that are a transport port, a VLAN or a protocol of the flow itself, its translation, its master or what is expected of it; ours too.
 * pen 1 stands for our own number. */
static const guint16 port_elements[] = { 7, 11, 180, 181, 182, 183, 227, 228 };
static const guint16 vlan_elements[] = { 58, 59, 243, 254 };
static const SamiElementId own_port_elements[] = { SAMI_E_MASTER_SPORT, SAMI_E_MASTER_DPORT };

/* --- what is asked for --- */

static gboolean
parse_numbers(GStrv texts, const gchar *option, guint64 min, guint64 max, GArray *ret, GError **error)
{
    for (guint i = 0; texts && texts[i]; i++) {
        guint64 value;
        if (!sami_value_uint(texts[i], min, max, &value, error)) {
            g_prefix_error(error, "--%s: ", option);
            return FALSE;
        }
        guint16 number = (guint16) value;
        g_array_append_val(ret, number);
    }
    return TRUE;
}

static gboolean
parse_protocols(GStrv texts, GArray *ret, GError **error)
{
    for (guint i = 0; texts && texts[i]; i++) {
        guint16 number = 0;
        while (number < 256 && g_strcmp0(sami_protocol_name((guint8) number), texts[i]) != 0)
            number++;
        guint64 value = number;
        if (number == 256 && !sami_value_uint(texts[i], 0, 255, &value, error)) {
            g_prefix_error(error, "--protocol: neither tcp, udp, icmp, icmpv6, sctp, gre, udplite, dccp nor a number: ");
            return FALSE;
        }
        number = (guint16) value;
        g_array_append_val(ret, number);
    }
    return TRUE;
}

/* Kinds that are not of SamiRecordKind; "foreign" is both of others' data and options. 0: none of these. */
static guint64
other_kind(const gchar *text)
{
    const guint64 options = (guint64) 1 << KIND_FOREIGN_OPTIONS;
    return !strcmp(text, "signature")         ? (guint64) 1 << KIND_SIGNATURE
           : !strcmp(text, "foreign")         ? (guint64) 1 << KIND_FOREIGN | options
           : !strcmp(text, "foreign-options") ? options
                                              : 0;
}

static gboolean
parse_kinds(GStrv texts, guint64 *ret, GError **error)
{
    for (guint i = 0; texts && texts[i]; i++) {
        guint64 bit = other_kind(texts[i]);
        g_autoptr(GString) all = g_string_new("signature, foreign, foreign-options");
        for (guint k = 0; k < SAMI_N_RECORD_KINDS; k++) {
            if (sami_kinds[k].n_fields == 0)
                continue;
            if (!strcmp(replay_kind_name(k), texts[i]))
                bit |= (guint64) 1 << k;
            if (k != SAMI_RECORD_VM_ADDRESS6)
                g_string_append_printf(all, ", %s", replay_kind_name(k));
        }
        if (!bit) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--kind: '%s' is none of %s", texts[i], all->str);
            return FALSE;
        }
        *ret |= bit;
    }
    return TRUE;
}

static gboolean
parse_time(const gchar *text, const gchar *option, gint64 *ret, GError **error)
{
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree gchar *today = g_date_time_format(now, "%Y-%m-%d");
    g_autofree gchar *whole = strchr(text, '-') ? g_strdup(text)
                              : strchr(text, ':') ? g_strdup_printf("%sT%s%s", today, text, strlen(text) == 5 ? ":00" : "")
                                                  : NULL;
    g_autoptr(GDateTime) time = whole ? g_date_time_new_from_iso8601(whole, utc) : NULL;
    guint64 seconds = 0;
    if (time)
        seconds = (guint64) g_date_time_to_unix(time);
    else if (whole || !sami_value_uint(text, 0, G_MAXUINT32, &seconds, NULL)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--%s: '%s' is no time; allowed are 2026-11-29T17:00:00 (UTC), 17:00 of today, and seconds since 1970",
                    option, text);
        return FALSE;
    }
    *ret = (gint64) seconds;
    return TRUE;
}

static gboolean
parse_migration(const gchar *text, gchar **ret, GError **error)
{
    g_autofree gchar *lower = g_ascii_strdown(text, -1);
    if (!*lower || strlen(lower) > 32 || strspn(lower, "0123456789abcdef") != strlen(lower)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--migration: '%s' is no beginning of a migration's id: 1 to 32 hex digits", text);
        return FALSE;
    }
    *ret = g_steal_pointer(&lower);
    return TRUE;
}

ReplayFilter *
replay_filter_new(const ReplayArgs *args, GError **error)
{
    g_autoptr(ReplayFilter) filter = g_new0(ReplayFilter, 1);
    filter->until_s = G_MAXINT64;
    filter->ports = g_array_new(FALSE, FALSE, sizeof(guint16));
    filter->protocols = g_array_new(FALSE, FALSE, sizeof(guint16));
    filter->vlans = g_array_new(FALSE, FALSE, sizeof(guint16));
    filter->prefixes = g_array_new(FALSE, FALSE, sizeof(SamiPrefix));
    for (guint i = 0; args->addresses && args->addresses[i]; i++) {
        SamiPrefix prefix;
        if (!sami_prefix_parse(args->addresses[i], &prefix, error)) {
            g_prefix_error(error, "--address: ");
            return NULL;
        }
        g_array_append_val(filter->prefixes, prefix);
    }
    if (!parse_numbers(args->ports, "port", 0, 65535, filter->ports, error) || !parse_numbers(args->vlans, "vlan", 0, 4095, filter->vlans, error) ||
        !parse_protocols(args->protocols, filter->protocols, error) || !parse_kinds(args->kinds, &filter->kinds, error) ||
        (args->since && !parse_time(args->since, "since", &filter->since_s, error)) ||
        (args->until && !parse_time(args->until, "until", &filter->until_s, error)) ||
        (args->migration && !parse_migration(args->migration, &filter->migration, error)))
        return NULL;
    return g_steal_pointer(&filter);
}

void
replay_filter_free(ReplayFilter *filter)
{
    if (!filter)
        return;
    g_clear_pointer(&filter->prefixes, g_array_unref);
    g_clear_pointer(&filter->ports, g_array_unref);
    g_clear_pointer(&filter->protocols, g_array_unref);
    g_clear_pointer(&filter->vlans, g_array_unref);
    g_free(filter->migration);
    g_free(filter);
}

/* --- what there is --- */

gboolean
replay_filter_message(const ReplayFilter *filter, const ReplayMessage *message)
{
    gint64 time_s = message->input.time_ns ? message->input.time_ns / G_GINT64_CONSTANT(1000000000) : message->export_time;
    if (time_s < filter->since_s || time_s >= filter->until_s)
        return FALSE;
    for (guint i = 0; filter->migration && filter->migration[i]; i++) {
        guint8 octet = message->signature.migration_id[i / 2];
        if (!message->is_signed || g_ascii_xdigit_value(filter->migration[i]) != (i % 2 ? octet & 15 : octet >> 4))
            return FALSE;
    }
    return TRUE;
}

gboolean
replay_filter_has_record_rules(const ReplayFilter *filter)
{
    return filter->kinds || filter->prefixes->len || filter->ports->len || filter->protocols->len || filter->vlans->len;
}

static gboolean
has_number(const GArray *numbers, guint64 value)
{
    for (guint i = 0; i < numbers->len; i++)
        if (g_array_index(numbers, guint16, i) == value)
            return TRUE;
    return FALSE;
}

static gboolean
is_one_of(const guint16 *elements, guint n, guint16 number)
{
    for (guint i = 0; i < n; i++)
        if (elements[i] == number)
            return TRUE;
    return FALSE;
}

/* Which rules one value fulfils. */
typedef struct {
    gboolean address, port, protocol, vlan;
} Found;

static gboolean
is_own_port(guint32 pen, guint16 number)
{
    for (guint i = 0; pen == SAMI_PEN && i < G_N_ELEMENTS(own_port_elements); i++)
        if (sami_elements[own_port_elements[i]].number == number)
            return TRUE;
    return FALSE;
}

static void
look_at_address(const ReplayFilter *filter, guint8 family, const guint8 *octets, Found *found)
{
    SamiAddress address = { 0 };
    memcpy(&address, octets, family == 4 ? 4 : 16);
    found->address |= sami_prefixes_contain((const SamiPrefix *) (gpointer) filter->prefixes->data, filter->prefixes->len, family, &address);
}

/* One value as it is on the wire. */
static void
look(const ReplayFilter *filter, guint32 pen, guint16 number, guint type, const guint8 *octets, gsize length, Found *found)
{
    guint value = length == 1 ? octets[0] : length == 2 ? (guint) (octets[0] << 8 | octets[1]) : G_MAXUINT;
    if ((type == SAMI_TYPE_IPV4 && length == 4) || (type == SAMI_TYPE_IPV6 && length == 16)) {
        look_at_address(filter, type == SAMI_TYPE_IPV4 ? 4 : 6, octets, found);
        return;
    }
    if (pen == SAMI_PEN && number == sami_elements[SAMI_E_FLOW_KEY].number && length == 40) { /* of a refusal */
        SamiFlowKey key;
        sami_flow_key_unpack(octets, &key);
        guint8 family = (guint8) (key.family & ~SAMI_FLOW_KEY_VLAN);
        if (family != 4 && family != 6)
            return;
        look_at_address(filter, family, (const guint8 *) &key.orig.src, found);
        look_at_address(filter, family, (const guint8 *) &key.orig.dst, found);
        found->port |= has_number(filter->ports, key.orig.src_port) || has_number(filter->ports, key.orig.dst_port);
        found->protocol |= has_number(filter->protocols, key.protocol);
        found->vlan |= family != key.family && has_number(filter->vlans, key.zone);
        return;
    }
    if (pen == 0 || pen == SAMI_PEN_REVERSE) {
        found->protocol |= number == 4 && length == 1 && has_number(filter->protocols, value);
        found->port |= is_one_of(port_elements, G_N_ELEMENTS(port_elements), number) && has_number(filter->ports, value);
        found->vlan |= is_one_of(vlan_elements, G_N_ELEMENTS(vlan_elements), number) && has_number(filter->vlans, value);
    }
    found->port |= is_own_port(pen, number) && has_number(filter->ports, value);
}

static gboolean
is_all(const ReplayFilter *filter, const Found *found)
{
    return (found->address || !filter->prefixes->len) && (found->port || !filter->ports->len) && (found->protocol || !filter->protocols->len) &&
           (found->vlan || !filter->vlans->len);
}

static gboolean
is_kind(const ReplayFilter *filter, guint kind)
{
    return !filter->kinds || (filter->kinds >> kind & 1);
}

gboolean
replay_filter_record(const ReplayFilter *filter, const ReplayRecord *record)
{
    Found found = { 0 };
    ReplayWalk walk = REPLAY_WALK(record);
    ReplayValue value;
    guint kind = record->ours                                                                  ? record->ours->kind
                 : record->message->is_signed && record->tmpl->id == SAMI_TEMPLATE_SIGNATURE ? KIND_SIGNATURE
                 : record->tmpl->n_scope                                                       ? KIND_FOREIGN_OPTIONS
                                                                                               : KIND_FOREIGN;
    if (!is_kind(filter, kind))
        return FALSE;
    while (replay_walk(&walk, &value)) {
        const SamiRegistryElement *e = &value.field->element;
        look(filter, e->pen, e->number, e->type, value.octets, value.length, &found);
    }
    return is_all(filter, &found);
}

gboolean
replay_filter_matches(const ReplayFilter *filter, const SamiRecord *record)
{
    guint8 octets[SAMI_TEMPLATE_FIELDS_MAX * 256];
    SamiTemplate tmpl;
    Found found = { 0 };
    if (!is_kind(filter, record->kind))
        return FALSE;
    if (!replay_filter_has_record_rules(filter) || !sami_template_make(record->kind, sami_record_groups(record), SAMI_TEMPLATE_FIRST, &tmpl))
        return TRUE;
    sami_template_pack_wire(&tmpl, record, octets);
    const guint8 *at = octets;
    for (guint i = 0; i < tmpl.n_fields; i++) {
        const SamiElement *e = &sami_elements[tmpl.fields[i]->element];
        look(filter, e->pen, e->number, e->type, at, e->length, &found);
        at += e->length;
    }
    return is_all(filter, &found);
}
