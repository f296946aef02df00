/* Values of any element as text: for people, and as JSON. */
#pragma once

#include "replay/reader.h"

/* Appends the value: numbers, addresses, times in ISO 8601 (UTC), strings with what is no printable character escaped, octets in hex. A value whose
 * length does not fit its type is shown in hex. */
void replay_value_text(GString *out, const ReplayValue *value);
/* The same as a JSON value. */
void replay_value_json(GString *out, const ReplayValue *value);
/* A JSON string with its quotes; octets that are no UTF-8 become U+FFFD. */
void replay_json_string(GString *out, const gchar *text, gsize length);
/* "sourceIPv4Address"; "e29305id999" or "id999" of an element that nobody has described. */
void replay_field_name(GString *out, const ReplayField *field);
/* "2026-11-29T17:00:00Z", with as many digits of the second as asked for. */
void replay_time_text(GString *out, gint64 seconds, guint32 fraction, guint n_digits);
/* "tcp", or the number. */
void replay_protocol_text(GString *out, guint8 protocol);
