#include "replay/value.h"

#include <arpa/inet.h>
#include <math.h>
#include <netdb.h>
#include <string.h>

#include "common/cursor.h"
#include "common/value.h"

#define NTP_EPOCH 2208988800u /* seconds from 1900 to 1970 (RFC 5905 §6) */

/* JSON is written by hand here: an object a record of json-glib takes twenty times as long, and a file has millions. */

static guint64
read_uint(const ReplayValue *value)
{
    SamiReader r;
    sami_reader_init(&r, value->octets, value->length);
    return sami_reader_uint(&r, (guint) value->length);
}

/* RFC 7011 §6.2: integers may be sent with fewer octets. */
static gint64
read_int(const ReplayValue *value)
{
    guint shift = (guint) (8 - value->length) * 8;
    return (gint64) (read_uint(value) << shift) >> shift;
}

/* g_string_append_printf() allocates, for each of some dozen numbers a record. */
static void
append_uint(GString *out, guint64 value)
{
    gchar digits[20], *at = digits + sizeof digits;
    do {
        *--at = (gchar) ('0' + value % 10);
        value /= 10;
    } while (value > 0);
    g_string_append_len(out, at, digits + sizeof digits - at);
}

void
replay_time_text(GString *out, gint64 seconds, guint32 fraction, guint n_digits)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(seconds);
    if (!time) {
        g_string_append_printf(out, "%" G_GINT64_FORMAT, seconds);
        return;
    }
    g_string_append_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d", g_date_time_get_year(time), g_date_time_get_month(time),
                           g_date_time_get_day_of_month(time), g_date_time_get_hour(time), g_date_time_get_minute(time), g_date_time_get_second(time));
    if (n_digits)
        g_string_append_printf(out, ".%0*u", (int) n_digits, fraction);
    g_string_append_c(out, 'Z');
}

/* dateTimeMicroseconds and -Nanoseconds are NTP timestamps (RFC 7011 §6.1.9, §6.1.10). */
static void
append_ntp(GString *out, guint64 ntp, guint n_digits)
{
    guint64 scale = n_digits == 6 ? 1000000u : 1000000000u;
    replay_time_text(out, (gint64) (ntp >> 32) - NTP_EPOCH, (guint32) (((ntp & G_MAXUINT32) * scale) >> 32), n_digits);
}

static gboolean
append_time(GString *out, const ReplayValue *value)
{
    guint64 v = value->length <= 8 ? read_uint(value) : 0;
    gsize length = value->field->element.type == SAMI_TYPE_SECONDS ? 4 : 8;
    if (value->length != length)
        return FALSE;
    switch (value->field->element.type) {
    case SAMI_TYPE_SECONDS: replay_time_text(out, (gint64) v, 0, 0); break;
    case SAMI_TYPE_MILLISECONDS:
        if (v / 1000 > G_MAXINT64 / 2)
            return FALSE;
        replay_time_text(out, (gint64) (v / 1000), (guint32) (v % 1000), 3);
        break;
    case SAMI_TYPE_MICROSECONDS: append_ntp(out, v, 6); break;
    default: append_ntp(out, v, 9); break;
    }
    return TRUE;
}

static gboolean
append_float(GString *out, const ReplayValue *value, gboolean is_json)
{
    gchar text[G_ASCII_DTOSTR_BUF_SIZE];
    guint64 bits = value->length <= 8 ? read_uint(value) : 0;
    gdouble number;
    if (value->length == 4) {
        guint32 bits32 = (guint32) bits;
        gfloat single;
        memcpy(&single, &bits32, sizeof single);
        number = single;
    } else if (value->length == 8) {
        memcpy(&number, &bits, sizeof number);
    } else {
        return FALSE;
    }
    g_ascii_dtostr(text, sizeof text, number);
    gboolean is_quoted = is_json && !isfinite(number);
    g_string_append_printf(out, is_quoted ? "\"%s\"" : "%s", text);
    return TRUE;
}

static void
append_hex(GString *out, const ReplayValue *value)
{
    static const gchar digits[] = "0123456789abcdef";
    for (gsize i = 0; i < value->length; i++) {
        g_string_append_c(out, digits[value->octets[i] >> 4]);
        g_string_append_c(out, digits[value->octets[i] & 15]);
    }
}

static gboolean
append_address(GString *out, const ReplayValue *value)
{
    gchar text[INET6_ADDRSTRLEN];
    gboolean is_v4 = value->field->element.type == SAMI_TYPE_IPV4;
    if (value->length != (is_v4 ? 4u : 16u) || !inet_ntop(is_v4 ? AF_INET : AF_INET6, value->octets, text, sizeof text))
        return FALSE;
    g_string_append(out, text);
    return TRUE;
}

static gboolean
append_mac(GString *out, const ReplayValue *value)
{
    for (gsize i = 0; value->length == 6 && i < 6; i++)
        g_string_append_printf(out, "%s%02x", i ? ":" : "", value->octets[i]);
    return value->length == 6;
}

/* Strings of ours are zero-padded. */
static gsize
string_length(const ReplayValue *value)
{
    return value->length ? strnlen((const gchar *) value->octets, value->length) : 0;
}

void
replay_json_string(GString *out, const gchar *text, gsize length)
{
    g_autofree gchar *valid = g_utf8_make_valid(text, (gssize) length);
    g_string_append_c(out, '"');
    for (const gchar *at = valid; *at; at++) {
        if (*at == '"' || *at == '\\')
            g_string_append_printf(out, "\\%c", *at);
        else if (sami_value_control_length(at) > 0) {
            g_string_append_printf(out, "\\u%04x", (guint) g_utf8_get_char(at));
            at += sami_value_control_length(at) - 1;
        } else
            g_string_append_c(out, *at);
    }
    g_string_append_c(out, '"');
}

static void
append_string(GString *out, const ReplayValue *value)
{
    g_autofree gchar *valid = g_utf8_make_valid((const gchar *) value->octets, (gssize) string_length(value));
    gboolean has_blanks = strchr(valid, ' ') != NULL;
    g_string_append(out, has_blanks ? "\"" : "");
    for (const gchar *at = valid; *at; at++)
        if (sami_value_control_length(at) > 0 || *at == '\\' || (has_blanks && *at == '"')) {
            g_string_append_printf(out, "\\x%02x", (guint) g_utf8_get_char(at));
            at += MAX(sami_value_control_length(at), 1u) - 1;
        } else
            g_string_append_c(out, *at);
    g_string_append(out, has_blanks ? "\"" : "");
}

typedef enum { FORM_HEX, FORM_UNSIGNED, FORM_SIGNED, FORM_FLOAT, FORM_BOOLEAN, FORM_MAC, FORM_STRING, FORM_TIME, FORM_ADDRESS } Form;

static const guint8 forms[SAMI_N_TYPES] = {
    [SAMI_TYPE_U8] = FORM_UNSIGNED,   [SAMI_TYPE_U16] = FORM_UNSIGNED,      [SAMI_TYPE_U32] = FORM_UNSIGNED,      [SAMI_TYPE_U64] = FORM_UNSIGNED,
    [SAMI_TYPE_S8] = FORM_SIGNED,     [SAMI_TYPE_S16] = FORM_SIGNED,        [SAMI_TYPE_S32] = FORM_SIGNED,        [SAMI_TYPE_S64] = FORM_SIGNED,
    [SAMI_TYPE_FLOAT32] = FORM_FLOAT, [SAMI_TYPE_FLOAT64] = FORM_FLOAT,     [SAMI_TYPE_BOOLEAN] = FORM_BOOLEAN,   [SAMI_TYPE_MAC] = FORM_MAC,
    [SAMI_TYPE_STRING] = FORM_STRING, [SAMI_TYPE_SECONDS] = FORM_TIME,      [SAMI_TYPE_MILLISECONDS] = FORM_TIME, [SAMI_TYPE_MICROSECONDS] = FORM_TIME,
    [SAMI_TYPE_NANOSECONDS] = FORM_TIME, [SAMI_TYPE_IPV4] = FORM_ADDRESS,   [SAMI_TYPE_IPV6] = FORM_ADDRESS,
};

/* FALSE: its length is not one of its type; nothing was appended. */
static gboolean
append_number(GString *out, const ReplayValue *value, Form form, gboolean is_json)
{
    if (value->length == 0 || value->length > 8)
        return FALSE;
    switch (form) {
    case FORM_UNSIGNED: append_uint(out, read_uint(value)); return TRUE;
    case FORM_SIGNED: g_string_append_printf(out, "%" G_GINT64_FORMAT, read_int(value)); return TRUE;
    case FORM_FLOAT: return append_float(out, value, is_json);
    default:
        if (value->length != 1 || value->octets[0] < 1 || value->octets[0] > 2) /* RFC 7011 §6.1.5 */
            return FALSE;
        g_string_append(out, value->octets[0] == 1 ? "true" : "false");
        return TRUE;
    }
}

static void
append_quotable(GString *out, const ReplayValue *value, Form form)
{
    gsize before = out->len;
    gboolean is_shown = form == FORM_MAC       ? append_mac(out, value)
                        : form == FORM_TIME    ? append_time(out, value)
                        : form == FORM_ADDRESS ? append_address(out, value)
                                               : FALSE;
    if (is_shown)
        return;
    g_string_truncate(out, before);
    append_hex(out, value);
}

void
replay_value_text(GString *out, const ReplayValue *value)
{
    Form form = forms[value->field->element.type];
    if (form == FORM_STRING)
        append_string(out, value);
    else if (form < FORM_UNSIGNED || form > FORM_BOOLEAN || !append_number(out, value, form, FALSE))
        append_quotable(out, value, form);
}

void
replay_value_json(GString *out, const ReplayValue *value)
{
    Form form = forms[value->field->element.type];
    if (form == FORM_STRING) {
        replay_json_string(out, (const gchar *) value->octets, string_length(value));
        return;
    }
    if (form >= FORM_UNSIGNED && form <= FORM_BOOLEAN && append_number(out, value, form, TRUE))
        return;
    g_string_append_c(out, '"');
    append_quotable(out, value, form);
    g_string_append_c(out, '"');
}

void
replay_field_name(GString *out, const ReplayField *field)
{
    const SamiRegistryElement *e = &field->element;
    if (e->name)
        g_string_append(out, e->name);
    else if (e->pen)
        g_string_append_printf(out, "e%uid%u", e->pen, e->number);
    else
        g_string_append_printf(out, "id%u", e->number);
}

void
replay_protocol_text(GString *out, guint8 protocol)
{
    const gchar *name = sami_protocol_name(protocol);
    if (name)
        g_string_append(out, name);
    else
        g_string_append_printf(out, "%u", protocol);
}
