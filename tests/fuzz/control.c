/* A request on the control socket, one JSON object a line, up to where a daemon reads its members. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "common/control-json.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree gchar *line = g_strndup((const gchar *)data, size); /* as the server has it: NUL behind it */
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) request = sami_control_json_parse(line, strnlen(line, size), &error);
    g_assert(!request != !error);
    if (!request)
        return 0;
    g_autoptr(GError) refusal = NULL;
    g_assert(sami_control_request_check(request, &refusal) == !refusal);
    if (!refusal) { /* what every command may do with it then; json-glib's assertions are fatal here */
        json_object_get_boolean_member_with_default(request, "now", FALSE);
        g_assert(json_object_get_int_member_with_default(request, "vlan", 1) < 4095);
        JsonArray *vm = sami_control_json_array(request, "vm");
        for (guint i = 0; vm && i < json_array_get_length(vm); i++)
            g_assert(json_array_get_string_element(vm, i));
    }
    g_autofree gchar *text = sami_control_json_print(request);
    g_assert(text && !strchr(text, '\n'));
    g_autoptr(JsonObject) again = sami_control_json_parse(text, strlen(text), NULL);
    g_assert(again && json_object_get_size(again) == json_object_get_size(request));
    return 0;
}
