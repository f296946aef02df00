/* Is a peer there, who we think it is, and does it know us: TLS with both certificates, then hello and hello-reply with both signatures, under nonces of this
 * moment. Nothing else is said. */
#include "exporter/exporter.h"

#include "common/control-json.h"

struct SamiProbe {
    SamiExporter *exporter;
    SamiControlClient *client;
    SamiDryRun *run;
    gchar *peer;
    gint64 started_us;
    guint idle; /* it is over */
};

void
sami_probe_free(SamiProbe *probe)
{
    g_clear_handle_id(&probe->idle, g_source_remove);
    sami_control_client_on_hangup(probe->client, NULL, NULL);
    sami_dry_run_free(probe->run);
    sami_control_client_unref(probe->client);
    g_free(probe->peer);
    g_free(probe);
}

static gboolean
on_over(gpointer user_data)
{
    SamiProbe *probe = user_data;
    probe->idle = 0;
    g_ptr_array_remove(probe->exporter->probes, probe);
    return G_SOURCE_REMOVE;
}

/* Callers are in the middle of the run's own work. */
static void
let_go(gpointer user_data)
{
    SamiProbe *probe = user_data;
    if (!probe->idle)
        probe->idle = sami_idle_add(on_over, probe);
}

static void
on_bound(gint64 skew_s, gpointer user_data)
{
    SamiProbe *probe = user_data;
    const SamiStream *stream = sami_dry_run_stream(probe->run);
    gchar own[SAMI_KEY_ID_TEXT], theirs[SAMI_KEY_ID_TEXT];
    JsonObject *answer = json_object_new();
    json_object_set_int_member(answer, "v", 1);
    json_object_set_string_member(answer, "host", probe->exporter->config->name);
    json_object_set_string_member(answer, "peer", probe->peer);
    json_object_set_double_member(answer, "round_trip_ms", (double) (g_get_monotonic_time() - probe->started_us) / 1000.0);
    json_object_set_int_member(answer, "clock_ahead_s", skew_s);
    json_object_set_string_member(answer, "own_key", sami_key_id_text(sami_key_id(stream->key), own));
    json_object_set_string_member(answer, "peer_key", sami_key_id_text(sami_key_id(stream->peer_key), theirs));
    sami_control_finish(probe->client, SAMI_EXIT_DONE, answer, NULL);
    let_go(probe);
}

static void
on_ended(SamiDryRunEnd how, SamiReason reason, const gchar *text, gpointer user_data)
{
    static const gchar *const words[] = { [SAMI_DRY_RUN_NO_SESSION] = "no session with it", [SAMI_DRY_RUN_REFUSED] = "it refused us",
                                          [SAMI_DRY_RUN_SILENT] = "it does not answer", [SAMI_DRY_RUN_DISBELIEVED] = "its answer is not to be believed" };
    SamiProbe *probe = user_data;
    g_autofree gchar *quoted = g_strescape(text ? text : "", NULL);
    g_autofree gchar *message = g_strdup_printf("%s: %s: %s%s%s", probe->peer, words[how], reason ? sami_reason_id(reason) : "", reason ? ": " : "", quoted);
    sami_control_finish(probe->client, how == SAMI_DRY_RUN_REFUSED ? SAMI_EXIT_REFUSED : SAMI_EXIT_FAILED, NULL, message);
    let_go(probe);
}

gboolean
sami_probe_attach(SamiExporter *exporter, guint32 request, int fd)
{
    for (guint i = 0; i < exporter->probes->len; i++) {
        SamiProbe *probe = g_ptr_array_index(exporter->probes, i);
        if (!probe->idle && sami_dry_run_attach(probe->run, request, fd))
            return TRUE;
    }
    return FALSE;
}

void
sami_probe_control(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    static const SamiDryRunOps ops = { .bound = on_bound, .ended = on_ended };
    const gchar *to = json_object_get_string_member_with_default(request, "to", "");
    g_autoptr(GError) error = NULL;
    const SamiConfigPeer *peer = sami_exporter_find_peer(exporter, to, &error);
    if (peer && !peer->receipts)
        g_set_error(&error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s is a plain collector (receipts=false), which never answers", peer->name);
    if (error) {
        sami_control_finish(client, sami_exit_of_error(error), NULL, error->message);
        return;
    }
    SamiProbe *probe = g_new0(SamiProbe, 1);
    probe->exporter = exporter;
    probe->client = sami_control_client_ref(client);
    probe->peer = g_strdup(peer->name);
    probe->started_us = g_get_monotonic_time();
    g_ptr_array_add(exporter->probes, probe);
    sami_control_client_on_hangup(client, let_go, probe);
    if ((probe->run = sami_dry_run_new(exporter, peer, NULL, &ops, probe, &error)))
        return;
    sami_control_finish(client, sami_exit_of_error(error), NULL, error->message);
    let_go(probe);
}
