#include "exporter/state.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exporter/exporter.h"
#include "transport/daemon.h"

#define FINISHED_MAX 1000u /* remembered for status, as at the collector */

void
sami_exporter_trim(SamiExporter *exporter)
{
    for (guint i = 0; i < exporter->migrations->len && exporter->migrations->len > FINISHED_MAX; i++) {
        const SamiMigration *m = g_ptr_array_index(exporter->migrations, i);
        if (sami_exporter_is_over(m->state) && !m->stream && !m->replication) /* and drained; a replication removes its own */
            g_ptr_array_remove_index(exporter->migrations, i--);
    }
}

static gboolean
on_channel(GIOCondition condition, gpointer user_data)
{
    SamiExporter *exporter = user_data;
    SamiChannelType type;
    guint32 request = 0;
    int fd = -1;
    g_autofree gchar *text = NULL;
    g_autoptr(GError) error = NULL;
    SamiReceive receive = sami_channel_receive(exporter->channel, &type, &request, &text, &fd, &error);
    if (receive == SAMI_RECEIVE_AGAIN)
        return G_SOURCE_CONTINUE;
    if (receive == SAMI_RECEIVE_BAD && g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED)) { /* the next one stands for itself */
        sami_daemon_count_bad(&exporter->n_channel_errors, error);
        return G_SOURCE_CONTINUE;
    }
    if (receive != SAMI_RECEIVE_FRAME) {
        sami_daemon_tell_gone("connector", error);
        g_main_loop_quit(exporter->loop);
        return G_SOURCE_REMOVE;
    }
    for (guint i = 0; type == SAMI_CHANNEL_SESSION && fd >= 0 && i < exporter->migrations->len; i++) {
        SamiMigration *m = g_ptr_array_index(exporter->migrations, i);
        if (m->request == request && !m->socket && !sami_exporter_is_over(m->state)) { /* the first, or one that resumes */
            sami_migration_attach(m, fd);
            return G_SOURCE_CONTINUE;
        }
    }
    if (type == SAMI_CHANNEL_SESSION && fd >= 0 && (sami_check_attach(exporter, request, fd) || sami_probe_attach(exporter, request, fd)))
        return G_SOURCE_CONTINUE;
    if (fd >= 0)
        close(fd);
    return G_SOURCE_CONTINUE;
}

/* LIFECYCLE §2: with nf_conntrack_events = 1 every new entry sends events. Since when it has been 1 is in a file that the first
 * daemon to see it wrote; entries older than that may be silent. */
guint64
sami_exporter_events_since(const SamiConfig *config)
{
    g_autofree gchar *path = g_build_filename(config->run_dir, "events-since", NULL);
    g_autofree gchar *setting = NULL, *text = NULL;
    guint64 since = (guint64) g_get_real_time() * 1000u;
    if (!g_file_get_contents("/proc/sys/net/netfilter/nf_conntrack_events", &setting, NULL, NULL) || atoi(setting) != 1) {
        unlink(path);
        return G_MAXUINT64;
    }
    if (g_file_get_contents(path, &text, NULL, NULL))
        return g_ascii_strtoull(text, NULL, 10);
    text = g_strdup_printf("%" G_GUINT64_FORMAT "\n", since);
    if (!g_file_set_contents(path, text, -1, NULL))
        g_warning("%s cannot be written: older entries count as silent, freeze will scan", path);
    return since;
}

static GArray *
read_prefixes(const SamiConfig *config, GError **error)
{
    g_autofree gchar *what = g_strdup_printf("%s: vm-prefixes", config->path);
    return sami_prefix_list(config->vm_prefixes, what, error);
}

static gboolean
read_vlans(const SamiConfig *config, SamiVlans **ret_vlans, GError **error)
{
    gboolean is_read = sami_vlans_load(config->vlans, ret_vlans, error);
    if (!is_read)
        g_prefix_error(error, "%s: vlans: ", config->path);
    return is_read;
}

gboolean
sami_exporter_check_config(const SamiConfig *config, GError **error)
{
    g_autoptr(GArray) prefixes = read_prefixes(config, error);
    SamiVlans *vlans = NULL;
    gboolean is_right = prefixes && read_vlans(config, &vlans, error);
    sami_vlans_unref(vlans);
    return is_right;
}

static void
use(SamiExporter *exporter, const SamiConfig *config)
{
    sami_config_unref(exporter->config);
    exporter->config = sami_config_ref(config);
}

/* Replications first: those with a peer that was removed end. */
static void
review(SamiExporter *exporter, gboolean is_reloaded)
{
    sami_replications_configure(exporter);
    for (guint i = 0; i < exporter->migrations->len; i++)
        sami_migration_review(g_ptr_array_index(exporter->migrations, i), is_reloaded);
}

static void
fail_reload(SamiExporter *exporter, const GError *error)
{
    g_autoptr(SamiConfig) left = sami_daemon_fail_reload(exporter->config, &exporter->n_reload_errors, error);
    if (!left)
        return;
    use(exporter, left);
    sami_daemon_send_reload(left, exporter->channel, FALSE, &exporter->n_reload_errors);
    review(exporter, FALSE);
}

/* SIGHUP: what is asked for from now on goes by the new configuration; migrations that run keep theirs, but for whom they believe. */
void
sami_exporter_reload(SamiExporter *exporter)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiConfig) fresh = sami_daemon_reload_config(exporter->config, &error);
    g_autoptr(GArray) prefixes = fresh ? read_prefixes(fresh, &error) : NULL;
    SamiVlans *vlans = NULL;
    if (!prefixes || !read_vlans(fresh, &vlans, &error)) {
        fail_reload(exporter, error);
        return;
    }
    use(exporter, fresh);
    g_array_unref(exporter->vm_prefixes);
    exporter->vm_prefixes = g_steal_pointer(&prefixes);
    sami_vlans_unref(exporter->vlans);
    exporter->vlans = vlans;
    /* Whom we believe must not depend on whether our own key is in order. */
    if (!sami_daemon_load_key(exporter->config, &exporter->key, &exporter->key_stamp, &error)) {
        g_warning("reload: our old signing key stays in use: %s", error->message);
        exporter->n_reload_errors++;
    }
    sami_daemon_send_reload(exporter->config, exporter->channel, TRUE, &exporter->n_reload_errors);
    review(exporter, TRUE);
    exporter->n_reloads++;
    g_message("%s: reloaded: %u peers", exporter->config->name, exporter->config->peers->len);
}

static gboolean
on_reload(gpointer user_data)
{
    sami_exporter_reload(user_data);
    return G_SOURCE_CONTINUE;
}

static gboolean
open_all(SamiExporter *exporter, GError **error)
{
    const SamiConfig *config = exporter->config;
    g_autofree gchar *path = g_build_filename(config->run_dir, "exporter.sock", NULL), *pair = g_build_filename(config->run_dir, SAMI_PAIR_SOCKET, NULL);
    const SamiControlAccess access = { .operators = config->control_group, .readers = config->monitor_group, .outsider = config->user, .handover = pair };
    if (!sami_daemon_load_key(config, &exporter->key, &exporter->key_stamp, error) ||
        !(exporter->vm_prefixes = read_prefixes(config, error)) || !read_vlans(config, &exporter->vlans, error) ||
        !(exporter->control = sami_control_server_new(path, &access, sami_exporter_control, exporter, error)))
        return FALSE;
    sami_exporter_events_since(config); /* the time is written by whoever sees the setting first */
    if (!sami_daemon_confine(config, exporter->key, FALSE, &exporter->is_sandbox_partial, error))
        return FALSE;
    sami_replications_setup(exporter);
    return TRUE;
}

static void
close_all(SamiExporter *exporter)
{
    g_clear_pointer(&exporter->control, sami_control_server_free);
    sami_replications_close(exporter);
    g_ptr_array_unref(exporter->checks);
    g_ptr_array_unref(exporter->probes);
    g_ptr_array_unref(exporter->migrations);
    g_clear_pointer(&exporter->vm_prefixes, g_array_unref);
    sami_vlans_unref(exporter->vlans);
    sami_key_free(exporter->key);
    g_free(exporter->key_stamp);
    sami_config_unref(exporter->config);
    g_main_loop_unref(exporter->loop);
}

int
sami_exporter_run(const SamiConfig *config, int channel)
{
    SamiExporter exporter = { .config = sami_config_ref(config), .channel = channel };
    g_autoptr(GError) error = NULL;
    exporter.loop = g_main_loop_new(NULL, FALSE);
    exporter.migrations = g_ptr_array_new_with_free_func((GDestroyNotify) sami_migration_free);
    exporter.checks = g_ptr_array_new_with_free_func((GDestroyNotify) sami_check_free);
    exporter.probes = g_ptr_array_new_with_free_func((GDestroyNotify) sami_probe_free);
    gboolean is_open = open_all(&exporter, &error);
    if (is_open) {
        exporter.channel_source = sami_fd_source_new(channel, G_IO_IN, on_channel, &exporter, NULL);
        sami_daemon_take_signals(exporter.loop, on_reload, &exporter);
        g_message("%s: ready", config->name);
        g_main_loop_run(exporter.loop);
        g_source_destroy(exporter.channel_source);
        g_source_unref(exporter.channel_source);
    } else {
        g_critical("%s", error->message);
    }
    close_all(&exporter);
    return is_open ? EXIT_SUCCESS : EXIT_FAILURE;
}
