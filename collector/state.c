#include "collector/state.h"

#include <errno.h>
#include <glib-unix.h>
#include <stdlib.h>
#include <unistd.h>

#include "collector/collector.h"
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
    SamiCollector *collector = user_data;
    SamiChannelType type;
    guint32 request;
    int fd = -1;
    g_autofree gchar *text = NULL;
    g_autoptr(GError) error = NULL;
    SamiReceive receive = sami_channel_receive(collector->channel, &type, &request, &text, &fd, &error);
    if (receive == SAMI_RECEIVE_AGAIN)
        return G_SOURCE_CONTINUE;
    if (receive != SAMI_RECEIVE_FRAME) {
        g_critical("the listener is gone%s%s", error ? ": " : "", error ? error->message : "");
        g_main_loop_quit(collector->loop);
        return G_SOURCE_REMOVE;
    }
    if (type == SAMI_CHANNEL_SESSION && fd >= 0 && collector->sessions->len < SAMI_SESSIONS_MAX)
        sami_collector_session_new(collector, fd);
    else if (fd >= 0)
        close(fd);
    return G_SOURCE_CONTINUE;
}

static gboolean
make_journal_dir(const SamiConfig *config, GError **error)
{
    if (!config->journal || g_mkdir_with_parents(config->journal_dir, 0700) == 0)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "journal-dir %s: %s", config->journal_dir, g_strerror(errno));
    return FALSE;
}

static gboolean
open_all(SamiCollector *collector, GError **error)
{
    const SamiConfig *config = collector->config;
    g_autofree gchar *path = g_build_filename(config->run_dir, "collector.sock", NULL);
    g_autoptr(SamiFirewall) firewall = NULL;
    if (!(collector->key = sami_key_load_private(config->signing_key, error)) ||
        !(collector->signers = sami_signers_load(config, error)) ||
        !(firewall = sami_firewall_linux_new(error)) || !(collector->firewall = sami_firewall_linux_new(error)) ||
        !(collector->control = sami_control_server_new(path, config->control_group, sami_collector_control, collector, error)) ||
        !make_journal_dir(config, error) || !sami_daemon_keep_net_admin(error))
        return FALSE;
    collector->injector = sami_injector_new(g_steal_pointer(&firewall)); /* after the drop: its thread inherits it */
    return TRUE;
}

static void
close_all(SamiCollector *collector)
{
    g_clear_pointer(&collector->control, sami_control_server_free);
    g_ptr_array_unref(collector->sessions);
    g_clear_pointer(&collector->injector, sami_injector_free);
    g_ptr_array_unref(collector->migrations);
    g_clear_pointer(&collector->signers, g_ptr_array_unref);
    sami_firewall_free(collector->firewall);
    sami_key_free(collector->key);
    g_main_loop_unref(collector->loop);
}

int
sami_collector_run(const SamiConfig *config, int channel)
{
    SamiCollector collector = { .config = config, .channel = channel };
    g_autoptr(GError) error = NULL;
    collector.loop = g_main_loop_new(NULL, FALSE);
    collector.sessions = g_ptr_array_new_with_free_func((GDestroyNotify) sami_collector_session_free);
    collector.migrations = g_ptr_array_new_with_free_func((GDestroyNotify) sami_collector_migration_free);
    gboolean is_open = open_all(&collector, &error);
    if (is_open) {
        collector.channel_source = sami_fd_source_new(channel, G_IO_IN, on_channel, &collector, NULL);
        g_unix_signal_add(SIGTERM, on_signal, collector.loop);
        g_unix_signal_add(SIGINT, on_signal, collector.loop);
        g_message("%s: ready, listening at %s", config->name, config->listen);
        g_main_loop_run(collector.loop);
        g_source_destroy(collector.channel_source);
        g_source_unref(collector.channel_source);
    } else {
        g_critical("%s", error->message);
    }
    close_all(&collector);
    return is_open ? EXIT_SUCCESS : EXIT_FAILURE;
}
