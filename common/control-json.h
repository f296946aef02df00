/* Lines of the control protocol as objects; shared by both of its ends. */
#pragma once

#include <json-glib/json-glib.h>

#include "common/error.h"

/* One line, without its newline. SAMI_ERROR_MALFORMED if it is no JSON object, is not UTF-8, or is
 * nested deeper than 16: the parser recurses, and its depth must not be the sender's choice.
 * (transfer full) */
JsonObject *sami_control_json_parse(const gchar *line, gsize length, GError **error);
/* On one line, without newline. (transfer full) */
gchar *sami_control_json_print(JsonObject *object);
/* The member, if it is a string. (transfer none) (nullable) */
const gchar *sami_control_json_string(JsonObject *object, const gchar *member);
/* The same with what to take instead: for requests, whose sender is not believed to know the types. */
const gchar *sami_control_json_text(JsonObject *object, const gchar *member, const gchar *fallback);
/* The member, if it is an array. (transfer none) (nullable) */
JsonArray *sami_control_json_array(JsonObject *object, const gchar *member);
/* Has each member of a request the type, and a number the range, that the protocol gives it (control-request.c)? What it does not know is refused,
 * too. Behind it requests are read by json-glib's functions with a default. SAMI_ERROR_USAGE. */
gboolean sami_control_request_check(JsonObject *request, GError **error);
/* Adds an object of those of counts[1] to counts[n - 1] that are not 0, by name. */
void sami_control_json_add_counts(JsonObject *object, const gchar *member, const guint64 *counts, guint n, const gchar *(*get_name)(guint));
