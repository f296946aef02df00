/* What samictl makes of the answers of a daemon that it does not trust (samictl -H, a socket of somebody else's): each verb that only asks, as text and as JSON. The
 * first octet chooses it; then an answer a line, of which one is given to each question. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>

#include "common/control-json.h"
#include "ctl/ctl.h"

static const gchar *at, *end;

JsonObject *__wrap_sami_control_call(const gchar *path, JsonObject *request, SamiControlEventFunc func, gpointer user_data, GError **error);

JsonObject *
__wrap_sami_control_call(const gchar *path, JsonObject *request, SamiControlEventFunc func, gpointer user_data, GError **error)
{
    const gchar *line = at, *newline = at < end ? memchr(at, '\n', (gsize)(end - at)) : NULL;
    gsize length = (gsize)((newline ? newline : end) - line);
    at = newline ? newline + 1 : end;
    return sami_control_json_parse(line, length, error);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const CtlHandler verbs[] = {ctl_status, ctl_stats, ctl_metrics, ctl_diff, ctl_takeover, ctl_resync, ctl_replicate, ctl_abort, ctl_settle, ctl_thaw};
    static gchar *none[] = {NULL}, *id[] = {(gchar *)"7f3a", NULL};
    static FILE *nowhere;
    g_autoptr(GError) error = NULL;
    if (size == 0)
        return 0;
    if (!nowhere) {
        nowhere = freopen("/dev/null", "w", stdout);
        sami_fuzz_be_quiet();
    }
    guint verb = data[0] & 0x3f;
    Ctl ctl = {.args = {.socket = (gchar *)"/nowhere.sock", .config_dir = (gchar *)"/nowhere", .is_json = (data[0] & 0x40) != 0, .is_list = TRUE,
                        .timeout = (gchar *)"0s", .vm = none, .operands = verb >= 7 ? id : none}};
    at = (const gchar *)data + 1, end = at + size - 1;
    verbs[verb % G_N_ELEMENTS(verbs)](&ctl, &error);
    sami_config_unref(ctl.config);
    return 0;
}
