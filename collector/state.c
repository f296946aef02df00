#include "collector/state.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "collector/collector.h"
#include "common/trust.h"
#include "firewall/gate.h"
#include "transport/daemon.h"

static void
count_handshakes(SamiCollector *collector, guint32 n, const gchar *id)
{
    for (guint i = 0; i < SAMI_N_HANDSHAKE_CAUSES; i++)
        if (g_str_equal(id, sami_handshake_cause_id(i)))
            collector->refused_handshakes[i] += n;
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
    if (receive == SAMI_RECEIVE_BAD && g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED)) { /* the next one stands for itself */
        sami_daemon_count_bad(&collector->n_channel_errors, error);
        return G_SOURCE_CONTINUE;
    }
    if (receive != SAMI_RECEIVE_FRAME) {
        sami_daemon_tell_gone("listener", error);
        g_main_loop_quit(collector->loop);
        return G_SOURCE_REMOVE;
    }
    if (type == SAMI_CHANNEL_SESSION && fd >= 0 && collector->sessions->len < SAMI_SESSIONS_MAX)
        sami_collector_session_new(collector, fd);
    else if (fd >= 0) {
        collector->n_session_overflows++; /* the listener holds no more, unless it is not what it was */
        close(fd);
    }
    if (type == SAMI_CHANNEL_REFUSED)
        count_handshakes(collector, request, text);
    return G_SOURCE_CONTINUE;
}

static gboolean
make_journal_dir(const SamiConfig *config, GError **error)
{
    if (!config->journal)
        return TRUE;
    if (g_mkdir_with_parents(config->journal_dir, 0700) == 0)
        return sami_trust_directory(config->journal_dir, FALSE, error); /* ledgers are in it, too */
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "journal-dir %s: %s", config->journal_dir, g_strerror(errno));
    return FALSE;
}

gboolean
sami_collector_check_config(const SamiConfig *config, GError **error)
{
    g_autoptr(GPtrArray) signers = sami_signers_load(config, NULL, error);
    g_autoptr(SamiGate) gate = NULL;
    if (!signers || !g_str_equal(config->gate, "nft"))
        return signers != NULL;
    gate = sami_gate_new(config->gate_set, error);
    if (!gate)
        g_prefix_error(error, "%s: gate-set: ", config->path);
    return gate != NULL;
}

static void
use(SamiCollector *collector, const SamiConfig *config, GPtrArray *signers_take)
{
    sami_config_unref(collector->config);
    collector->config = sami_config_ref(config);
    g_ptr_array_unref(collector->signers);
    collector->signers = signers_take;
    sami_signers_enforce(collector->signers);
}

static void
fail_reload(SamiCollector *collector, const GError *error)
{
    g_autoptr(SamiConfig) left = sami_daemon_fail_reload(collector->config, &collector->n_reload_errors, error);
    if (!left)
        return;
    use(collector, left, sami_signers_without_gone(collector->signers, left));
    sami_daemon_send_reload(left, collector->channel, FALSE, &collector->n_reload_errors);
    sami_collector_policy_review(collector);
}

/* SIGHUP. Signers and peers come and go; what runs goes on, unless its signer is gone. */
void
sami_collector_reload(SamiCollector *collector)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiConfig) fresh = sami_daemon_reload_config(collector->config, &error);
    g_autoptr(GPtrArray) signers = fresh ? sami_signers_load(fresh, collector->signers, &error) : NULL;
    if (!signers) {
        fail_reload(collector, error);
        return;
    }
    use(collector, fresh, g_steal_pointer(&signers));
    /* Whom we believe must not depend on whether our own key is in order. */
    if (!sami_daemon_load_key(collector->config, &collector->key, &collector->key_stamp, &error)) {
        g_warning("reload: our old signing key stays in use: %s", error->message);
        collector->n_reload_errors++;
    }
    sami_daemon_send_reload(collector->config, collector->channel, TRUE, &collector->n_reload_errors);
    sami_collector_policy_review(collector);
    collector->n_reloads++;
    g_message("%s: reloaded: %u signers, %u peers", collector->config->name, collector->signers->len, collector->config->peers->len);
}

static gboolean
on_reload(gpointer user_data)
{
    sami_collector_reload(user_data);
    return G_SOURCE_CONTINUE;
}

static gboolean
open_all(SamiCollector *collector, GError **error)
{
    const SamiConfig *config = collector->config;
    const SamiControlAccess access = { .operators = config->control_group, .readers = config->monitor_group, .outsider = config->user };
    g_autofree gchar *path = g_build_filename(config->run_dir, "collector.sock", NULL);
    g_autofree gchar *announcements = g_build_filename(config->run_dir, "expected", NULL);
    g_autoptr(SamiFirewall) firewall = NULL;
    if (!sami_daemon_load_key(config, &collector->key, &collector->key_stamp, error) ||
        !(collector->signers = sami_signers_load(config, NULL, error)) ||
        !(firewall = sami_firewall_linux_new(error)) || !(collector->firewall = sami_firewall_linux_new(error)) || !sami_collector_host_open(collector, error) ||
        !(collector->control = sami_control_server_new(path, &access, sami_collector_control, collector, error)) ||
        !(collector->expect = sami_expect_new(announcements, error)) || !make_journal_dir(config, error) ||
        !sami_collector_gate_setup(collector, error) || !sami_collector_replication_setup(collector, error) || !sami_daemon_confine(config, collector->key, TRUE, &collector->is_sandbox_partial, error))
        return FALSE;
    sami_signers_enforce(collector->signers);
    collector->injector = sami_injector_new(g_steal_pointer(&firewall)); /* after the drop: its thread inherits it */
    collector->kinds = sami_collector_kinds_start();
    collector->sync = sami_sync_new();
    sami_collector_recover(collector);
    sami_collector_start_tidying(collector);
    sami_collector_policy_review(collector);
    g_timeout_add_seconds(1, sami_collector_sessions_watch, collector);
    return TRUE;
}

static void
close_all(SamiCollector *collector)
{
    g_clear_pointer(&collector->control, sami_control_server_free);
    g_clear_handle_id(&collector->validity_timer, g_source_remove);
    g_ptr_array_unref(collector->sessions);
    g_clear_pointer(&collector->injector, sami_injector_free);
    g_clear_pointer(&collector->kinds, sami_collector_kinds_stop);
    g_clear_pointer(&collector->sync, sami_sync_free);
    g_ptr_array_unref(collector->migrations);
    g_clear_pointer(&collector->signers, g_ptr_array_unref);
    sami_collector_replication_close(collector);
    sami_gate_free(collector->gate);
    sami_budget_unref(collector->budget);
    sami_expect_free(collector->expect);
    sami_config_unref(collector->config);
    sami_firewall_free(collector->firewall);
    sami_collector_host_close(collector);
    sami_key_free(collector->key);
    g_free(collector->key_stamp);
    g_main_loop_unref(collector->loop);
}

int
sami_collector_run(const SamiConfig *config, int channel)
{
    SamiCollector collector = { .config = sami_config_ref(config), .channel = channel, .budget = sami_budget_new(), .host_fd = -1 };
    g_autoptr(GError) error = NULL;
    collector.loop = g_main_loop_new(NULL, FALSE);
    collector.sessions = g_ptr_array_new_with_free_func((GDestroyNotify) sami_collector_session_free);
    collector.migrations = g_ptr_array_new_with_free_func((GDestroyNotify) sami_collector_migration_free);
    gboolean is_open = open_all(&collector, &error);
    if (is_open) {
        collector.channel_source = sami_fd_source_new(channel, G_IO_IN, on_channel, &collector, NULL);
        sami_daemon_take_signals(collector.loop, on_reload, &collector);
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
