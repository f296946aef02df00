/* `metrics`: the samples of both daemons, and the certificates that the configuration names, as Prometheus reads them. */
#include "ctl/ctl.h"

#include <string.h>

#include "common/metrics.h"
#include "transport/pki.h"

static void
add_certificate(JsonArray *samples, const gchar *file, const gchar *name)
{
    gsize length = 0;
    gint64 expiry_s = 0;
    g_autofree gchar *pem = NULL;
    if (file && g_file_get_contents(file, &pem, &length, NULL) && sami_pki_certificate_expiry(pem, length, &expiry_s, NULL))
        sami_metrics_add(samples, SAMI_METRIC_CERTIFICATE, (gdouble)expiry_s, SAMI_LABELS("peer", name));
}

static void
add_certificates(const SamiConfig *config, JsonArray *samples)
{
    add_certificate(samples, config->certificate, config->name);
    for (guint i = 0; i < config->peers->len; i++) {
        const SamiConfigPeer *peer = config->peers->pdata[i];
        add_certificate(samples, peer->certificate_file, peer->name);
    }
}

/* The samples of each daemon that runs. FALSE if none does, or if one refuses. */
static gboolean
ask_daemons(Ctl *ctl, JsonArray *samples, GError **error)
{
    g_auto(CtlAnswers) all = {0};
    if (!ctl_ask_all(ctl, "metrics", NULL, &all, error))
        return FALSE;
    for (guint i = 0; i < CTL_N_ROLES; i++) {
        JsonObject *answer = all.answers[i];
        JsonArray *list = answer ? ctl_array(answer, "samples") : NULL;
        if (answer && ctl_int(answer, "exit") != SAMI_EXIT_DONE) {
            g_autofree gchar *path = ctl_socket(ctl, i);
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s", path, ctl_string(answer, "error"));
            return FALSE;
        }
        for (guint k = 0; list && k < json_array_get_length(list); k++)
            json_array_add_element(samples, json_node_copy(json_array_get_element(list, k)));
    }
    return TRUE;
}

SamiExit
ctl_metrics(Ctl *ctl, GError **error)
{
    g_autoptr(JsonArray) samples = json_array_new();
    g_autoptr(GError) ignored = NULL;
    if (!ask_daemons(ctl, samples, error))
        return SAMI_EXIT_FAILED;
    if (ctl_load_config(ctl, &ignored) && ctl->config) /* without it there is only nothing to say of certificates */
        add_certificates(ctl->config, samples);
    g_autofree gchar *text = sami_metrics_print(samples, error);
    if (!text || (ctl->args.save && strcmp(ctl->args.save, "-") != 0 && !ctl_write(ctl->args.save, text, error)))
        return SAMI_EXIT_FAILED;
    if (!ctl->args.save || strcmp(ctl->args.save, "-") == 0)
        fputs(text, stdout);
    return SAMI_EXIT_DONE;
}
