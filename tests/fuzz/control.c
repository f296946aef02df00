/* A request on the control socket, one JSON object a line. */
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
    g_autofree gchar *text = sami_control_json_print(request);
    g_assert(text && !strchr(text, '\n'));
    g_autoptr(JsonObject) again = sami_control_json_parse(text, strlen(text), NULL);
    g_assert(again && json_object_get_size(again) == json_object_get_size(request));
    return 0;
}
