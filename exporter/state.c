#include "exporter/state.h"

#include <glib-unix.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exporter/exporter.h"
#include "transport/daemon.h"

static gboolean
on_signal(gpointer user_data)
{
    g_main_loop_quit(user_data);
    return G_SOURCE_REMOVE;
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
    if (receive != SAMI_RECEIVE_FRAME) {
        g_critical("the connector is gone%s%s", error ? ": " : "", error ? error->message : "");
        g_main_loop_quit(exporter->loop);
        return G_SOURCE_REMOVE;
    }
    for (guint i = 0; type == SAMI_CHANNEL_SESSION && fd >= 0 && i < exporter->migrations->len; i++) {
        SamiMigration *m = g_ptr_array_index(exporter->migrations, i);
        if (m->request == request && !m->socket && m->state == SAMI_STATE_PREPARE) {
            sami_migration_attach(m, fd);
            return G_SOURCE_CONTINUE;
        }
    }
    if (fd >= 0)
        close(fd);
    return G_SOURCE_CONTINUE;
}

/* LIFECYCLE §2: with nf_conntrack_events = 1 every new entry sends events. Since when it has been 1 is in a file that the first
 * daemon to see it wrote; entries older than that may be silent. */
static guint64
read_events_since(const SamiConfig *config)
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
    g_autoptr(GArray) list = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    for (guint i = 0; config->vm_prefixes && config->vm_prefixes[i]; i++) {
        SamiPrefix prefix;
        if (!sami_prefix_parse(config->vm_prefixes[i], &prefix, error)) {
            g_prefix_error(error, "%s: vm-prefixes: ", config->path);
            return NULL;
        }
        g_array_append_val(list, prefix);
    }
    return g_steal_pointer(&list);
}

static gboolean
open_all(SamiExporter *exporter, GError **error)
{
    const SamiConfig *config = exporter->config;
    g_autofree gchar *path = g_build_filename(config->run_dir, "exporter.sock", NULL);
    if (!(exporter->key = sami_key_load_private(config->signing_key, error)) ||
        !(exporter->vm_prefixes = read_prefixes(config, error)) ||
        !(exporter->control = sami_control_server_new(path, config->control_group, sami_exporter_control, exporter, error)))
        return FALSE;
    exporter->events_since_ns = read_events_since(config);
    return sami_daemon_keep_net_admin(error);
}

static void
close_all(SamiExporter *exporter)
{
    g_clear_pointer(&exporter->control, sami_control_server_free);
    g_ptr_array_unref(exporter->migrations);
    g_clear_pointer(&exporter->vm_prefixes, g_array_unref);
    sami_key_free(exporter->key);
    g_main_loop_unref(exporter->loop);
}

int
sami_exporter_run(const SamiConfig *config, int channel)
{
    SamiExporter exporter = { .config = config, .channel = channel };
    g_autoptr(GError) error = NULL;
    exporter.loop = g_main_loop_new(NULL, FALSE);
    exporter.migrations = g_ptr_array_new_with_free_func((GDestroyNotify) sami_migration_free);
    gboolean is_open = open_all(&exporter, &error);
    if (is_open) {
        exporter.channel_source = sami_fd_source_new(channel, G_IO_IN, on_channel, &exporter, NULL);
        g_unix_signal_add(SIGTERM, on_signal, exporter.loop);
        g_unix_signal_add(SIGINT, on_signal, exporter.loop);
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
