/* Values as an operator writes them, in files and on command lines: durations, numbers, names,
 * addresses, lists.
 *
 * Every reader says in its message what the text was and what is allowed; the caller prefixes where
 * it stood. All errors are SAMI_ERROR_USAGE; outputs are written only on success. Nothing here
 * blocks or resolves names. */
#pragma once

#include "common/error.h"

/* "2s", "500ms", "10m", "1h", "7d" within min..max milliseconds, both included. A unit is required
 * except for 0. */
gboolean sami_value_duration(const gchar *text, guint64 min_ms, guint64 max_ms, guint64 *ret_ms,
                             GError **error);
/* The shortest such text of a duration. (transfer full) */
gchar *sami_value_duration_print(guint64 ms);
/* Octets: a number, or one with K, M, G or T for powers of 1024, within min..max. */
gboolean sami_value_size(const gchar *text, guint64 min, guint64 max, guint64 *ret, GError **error);
/* Decimal number (or 0x… in hex) within min..max. */
gboolean sami_value_uint(const gchar *text, guint64 min, guint64 max, guint64 *ret, GError **error);
/* "true" or "false". */
gboolean sami_value_bool(const gchar *text, gboolean *ret, GError **error);
/* A DNS name as TLS names are compared: lower case, RFC 1123 §2.1 host name syntax, at most
 * SAMI_NAME_MAX octets. */
gboolean sami_value_name(const gchar *text, GError **error);
/* "host:port", "192.0.2.1:4740", "[2001:db8::1]:4740". */
gboolean sami_value_endpoint(const gchar *text, GError **error);
/* One to SAMI_PEER_ADDRESSES_MAX of them with commas: a peer's addresses in order of preference. (transfer full) */
GStrv sami_value_endpoints(const gchar *text, GError **error);
/* An address; with has_length also "10.0.0.0/24", without bits beyond its length. */
gboolean sami_value_address(const gchar *text, gboolean has_length, GError **error);
/* In lists of protocols and helpers: all. */
#define SAMI_VALUE_ANY "any"
/* An IP protocol, "tcp" or 6; 0 is none (RFC 8200: hop-by-hop options). */
gboolean sami_value_protocol(const gchar *text, guint64 *ret_number, GError **error);
/* "80" or "8000-8999": first and last port. */
gboolean sami_value_ports(const gchar *text, guint16 ret_range[2], GError **error);
/* "5" or "0-15": first and last number of connection labels, up to 127. */
gboolean sami_value_labels(const gchar *text, guint16 ret_range[2], GError **error);
/* How many octets of a text that is not at its end are what a terminal might obey: 1, 2 of a C1 control in UTF-8 (U+0080 to U+009F), 0 for none. */
guint sami_value_control_length(const gchar *at);
/* Has the text any? */
gboolean sami_value_has_control(const gchar *text);
/* What a terminal might obey, in a text of somebody else's, becomes '?': control characters, but for a newline, and in UTF-8 those from U+0080 to U+009F,
 * of which one begins escape sequences, too. */
void sami_value_mask_controls(gchar *text);
/* Letters, digits, '-', '_' and '.', at most `max` of them. */
gboolean sami_value_word(const gchar *text, gsize max, GError **error);
/* A moment in UTC, "2026-12-31T23:59:59Z", or the beginning of a day, "2026-12-31" (ISO 8601): seconds since 1970, which is later. */
gboolean sami_value_time(const gchar *text, gint64 *ret_s, GError **error);
/* Such a text. (transfer full) */
gchar *sami_value_time_print(gint64 s);
/* Comma separated, blanks around elements dropped, no empty elements; "" is the empty list.
 * (transfer full) */
GStrv sami_value_list(const gchar *text, GError **error);
