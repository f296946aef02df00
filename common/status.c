#include "common/status.h"

#include <string.h>

#include "common/control-json.h"

JsonObject *
sami_status_find(JsonObject *answer, const gchar *id)
{
    JsonArray *list = sami_control_json_array(answer, "migrations");
    JsonObject *found = NULL;
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonNode *element = json_array_get_element(list, i);
        const gchar *name = JSON_NODE_HOLDS_OBJECT(element)
                                ? sami_control_json_string(json_node_get_object(element), "id")
                                : NULL;
        if (!name || !g_str_has_prefix(name, id))
            continue;
        if (found)
            return NULL;
        found = json_node_get_object(element);
    }
    return found;
}

const gchar *
sami_status_phase(JsonObject *migration)
{
    const gchar *phase = sami_control_json_string(migration, "phase");
    return phase ? phase : "";
}

static gboolean
has_any(JsonObject *migration, const gchar *member)
{
    JsonNode *node = json_object_get_member(migration, "counts");
    JsonObject *counts = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    JsonNode *reasons = counts ? json_object_get_member(counts, member) : NULL;
    return reasons && JSON_NODE_HOLDS_OBJECT(reasons) &&
           json_object_get_size(json_node_get_object(reasons)) > 0;
}

gboolean
sami_status_is_decided(JsonObject *migration, SamiExit *ret_code)
{
    static const struct {
        const gchar *phase;
        SamiExit code;
    } decided[] = {
        {"READY", SAMI_EXIT_DONE},      {"SETTLE", SAMI_EXIT_DONE},   {"DONE", SAMI_EXIT_DONE},
        {"ABORTED", SAMI_EXIT_ABORTED}, {"FAILED", SAMI_EXIT_FAILED}, {"IN-DOUBT", SAMI_EXIT_IN_DOUBT},
    };
    const gchar *phase = sami_status_phase(migration);
    for (gsize i = 0; i < G_N_ELEMENTS(decided); i++) {
        if (strcmp(decided[i].phase, phase) != 0)
            continue;
        gboolean is_partial = has_any(migration, "refused") || has_any(migration, "degraded");
        *ret_code = decided[i].code == SAMI_EXIT_DONE && is_partial ? SAMI_EXIT_DEGRADED
                                                                    : decided[i].code;
        return TRUE;
    }
    return FALSE;
}
