/* What requests are made of. */
#include "common/control-json.h"

#include <string.h>

#define HOUR_MS (3600 * 1000)
#define DAY_S (24 * 3600)

typedef enum { STRING, NUMBER, FLAG, STRINGS } Type;

static const gchar *const type_names[] = {"a string", "a number", "true or false", "an array of strings"};

/* A name means the same in every command of both daemons. */
static const struct {
    const gchar *name;
    Type type;
    gint64 min, max; /* of a number */
} members[] = {
    {"cmd", STRING, 0, 0},
    {"op", STRING, 0, 0},
    {"id", STRING, 0, 0},
    {"to", STRING, 0, 0},
    {"from", STRING, 0, 0},
    {"peer", STRING, 0, 0},
    {"signer", STRING, 0, 0},
    {"on_late", STRING, 0, 0},
    {"vm", STRINGS, 0, 0},
    {"mark", NUMBER, 0, G_MAXUINT32},
    {"zone", NUMBER, 0, G_MAXUINT16},
    {"vlan", NUMBER, 1, 4094},
    {"deadline_ms", NUMBER, 10, HOUR_MS},
    {"hold_ms", NUMBER, 0, HOUR_MS},
    {"timeout_ms", NUMBER, 1, DAY_S * 1000},
    {"for_s", NUMBER, 1, 30 * DAY_S},
    {"table", NUMBER, 0, G_MAXINT64},
    {"at", NUMBER, 0, G_MAXINT32},
    {"now", FLAG, 0, 0},
    {"purge", FLAG, 0, 0},
    {"open", FLAG, 0, 0},
    {"keep", FLAG, 0, 0},
    {"stop", FLAG, 0, 0},
    {"wait", FLAG, 0, 0},
    {"yield", FLAG, 0, 0},
};

static gboolean
has_strings_only(JsonArray *array)
{
    for (guint i = 0; i < json_array_get_length(array); i++) {
        JsonNode *node = json_array_get_element(array, i);
        if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
            return FALSE;
    }
    return TRUE;
}

static gboolean
is_of(JsonNode *node, Type type)
{
    static const GType types[] = {[STRING] = G_TYPE_STRING, [NUMBER] = G_TYPE_INT64, [FLAG] = G_TYPE_BOOLEAN};
    if (type == STRINGS)
        return JSON_NODE_HOLDS_ARRAY(node) && has_strings_only(json_node_get_array(node));
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == types[type];
}

static gboolean
check(const gchar *name, JsonNode *node, GError **error)
{
    gsize i = 0;
    while (i < G_N_ELEMENTS(members) && strcmp(members[i].name, name) != 0)
        i++;
    if (i == G_N_ELEMENTS(members)) {
        g_autofree gchar *quoted = g_strescape(name, NULL);
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "the control protocol has no member \"%s\"", quoted);
        return FALSE;
    }
    if (!is_of(node, members[i].type)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "\"%s\" is not %s", name, type_names[members[i].type]);
        return FALSE;
    }
    gint64 number = members[i].type == NUMBER ? json_node_get_int(node) : 0;
    if (number >= members[i].min && number <= members[i].max)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s %" G_GINT64_FORMAT " is out of range; allowed: %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT,
                name, number, members[i].min, members[i].max);
    return FALSE;
}

gboolean
sami_control_request_check(JsonObject *request, GError **error)
{
    JsonObjectIter iter;
    const gchar *name;
    JsonNode *node;
    json_object_iter_init(&iter, request);
    while (json_object_iter_next(&iter, &name, &node))
        if (!check(name, node, error))
            return FALSE;
    return TRUE;
}
