/* The destination: what Load waits for. */
#include "packaging/qemu/vmstate.h"

#include "common/status.h"

#define POLL_FIRST_US 2000u
#define POLL_LAST_US 50000u

guint
sami_vmstate_load_limit_ms(const SamiVmstate *self, const SamiToken *token)
{
    if (self->options->on_late == SAMI_LATE_WAIT)
        return SAMI_LOAD_WAIT_MAX_MS;
    /* The token comes from outside: it can shorten the wait, not prolong it. */
    return MIN(MIN(token->left_ms, self->options->deadline_ms), SAMI_LOAD_WAIT_MAX_MS);
}

/* One look. TRUE with *ret_code if the collector has decided; else *ret_phase, or NULL if it does not know the migration, or does not answer. */
static gboolean
look(const SamiVmstate *self, const gchar *id, SamiExit *ret_code, gchar **ret_phase)
{
    g_autoptr(JsonObject) request = sami_vmstate_request("status", id);
    g_autoptr(JsonObject) answer = sami_control_call(self->options->collector, request, NULL, NULL, NULL);
    JsonObject *migration = answer ? sami_status_find(answer, id) : NULL;
    g_free(*ret_phase);
    *ret_phase = migration ? g_strdup(sami_status_phase(migration)) : NULL;
    return migration && sami_status_is_decided(migration, ret_code);
}

gboolean
sami_vmstate_load(SamiVmstate *self, const SamiToken *token, GError **error)
{
    gint64 end_us = g_get_monotonic_time() + (gint64)sami_vmstate_load_limit_ms(self, token) * 1000;
    SamiExit code = SAMI_EXIT_FAILED;
    g_autofree gchar *phase = NULL;
    if (token->state == SAMI_TOKEN_NONE) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED, "the source had no migration of this VM to freeze");
        return FALSE;
    }
    for (gulong pause_us = POLL_FIRST_US; !look(self, token->id, &code, &phase); pause_us = MIN(pause_us * 2, POLL_LAST_US)) {
        gint64 left_us = end_us - g_get_monotonic_time();
        if (left_us <= 0) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%.8s is not READY within the deadline: %s", token->id,
                        phase ? phase : "the collector does not answer, or does not know it");
            return FALSE;
        }
        g_usleep(MIN(pause_us, (gulong)left_us));
    }
    if (code == SAMI_EXIT_DONE || code == SAMI_EXIT_DEGRADED)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED, "%.8s is %s here", token->id, phase);
    return FALSE;
}
