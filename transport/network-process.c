#include "transport/network-process.h"

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "transport/privileges.h"
#include "transport/reload.h"
#include "transport/sandbox.h"

/* How long sessions may take to flush what the state process left, once it ended. */
#define STOP_TIMEOUT_S 10

enum { SOURCE_CHANNEL, SOURCE_SIGNALS, SOURCE_DEADLINE };

static void
attach(SamiNetworkProcess *process, guint slot, GSource *source_take, GSourceFunc func)
{
    g_source_set_callback(source_take, func, process, NULL);
    g_source_attach(source_take, process->context);
    process->sources[slot] = source_take;
}

static void
detach(SamiNetworkProcess *process, guint slot)
{
    if (!process->sources[slot])
        return;
    g_source_destroy(process->sources[slot]);
    g_clear_pointer(&process->sources[slot], g_source_unref);
}

static gboolean
on_deadline(gpointer user_data)
{
    SamiNetworkProcess *process = user_data;
    g_warning("%u sessions did not end in time and are cut",
              g_hash_table_size(process->connections));
    g_main_loop_quit(process->loop);
    return G_SOURCE_CONTINUE;
}

/* The state process closed its sessions or will soon: each one flushes and ends by itself. */
static void
begin_stop(SamiNetworkProcess *process)
{
    if (process->is_stopping)
        return;
    process->is_stopping = TRUE;
    if (process->stop)
        process->stop(process);
    attach(process, SOURCE_DEADLINE, g_timeout_source_new_seconds(STOP_TIMEOUT_S), on_deadline);
    if (g_hash_table_size(process->connections) == 0)
        g_main_loop_quit(process->loop);
}

static void
take_secret(SamiNetworkProcess *process, guint32 which, int fd_take)
{
    if (which < SAMI_N_SECRETS && process->secrets[which] >= 0)
        close(process->secrets[which]);
    if (which < SAMI_N_SECRETS)
        process->secrets[which] = fd_take;
    else
        close(fd_take);
}

static void
close_secrets(SamiNetworkProcess *process)
{
    for (guint i = 0; i < SAMI_N_SECRETS; i++) {
        if (process->secrets[i] >= 0)
            close(process->secrets[i]);
        process->secrets[i] = -1;
    }
}

/* Whoever would be refused now goes. */
static void
review_connections(SamiNetworkProcess *process)
{
    GHashTableIter iter;
    gpointer connection;
    g_hash_table_iter_init(&iter, process->connections);
    while (g_hash_table_iter_next(&iter, &connection, NULL))
        sami_tls_connection_review(connection);
}

/* `fd`: with the peers of now, sami_reload_write(). */
static void
reload(SamiNetworkProcess *process, int fd)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) peers = NULL;
    g_autofree gchar *ca = NULL, *certificate = NULL;
    SamiNetworkConfig fresh = process->config;
    gboolean is_read = sami_reload_read(fd, &peers, &fresh.limits, &ca, &certificate, &error);
    fresh.peers = peers;
    fresh.ca = ca;
    fresh.certificate = certificate;
    if (!ca)
        fresh.ca_file = NULL;
    if (is_read && process->secrets[SAMI_SECRET_KEY] >= 0 &&
        !sami_tls_reload_identity(process->tls, &fresh, process->secrets[SAMI_SECRET_KEY], process->secrets[SAMI_SECRET_PASSPHRASE], &error)) {
        g_warning("reload: our old certificate stays in use: %s", error->message);
        g_clear_error(&error);
    }
    close_secrets(process);
    if (!is_read || !sami_tls_reload(process->tls, &fresh, &error)) {
        g_warning("reload: the old peers and certificates stay in use: %s", error->message);
        return;
    }
    g_clear_pointer(&process->config.peers, g_ptr_array_unref);
    process->config.peers = g_steal_pointer(&peers);
    process->config.limits = fresh.limits;
    review_connections(process);
}

static gboolean
on_channel(gint fd, GIOCondition condition, gpointer user_data)
{
    SamiNetworkProcess *process = user_data;
    SamiChannelType type;
    guint32 request;
    g_autofree gchar *text = NULL;
    g_autoptr(GError) error = NULL;
    int passed = -1;
    SamiReceive receive = sami_channel_receive(fd, &type, &request, &text, &passed, &error);
    if (receive == SAMI_RECEIVE_AGAIN)
        return G_SOURCE_CONTINUE;
    if (receive != SAMI_RECEIVE_FRAME) {
        if (error)
            g_warning("%s", error->message);
        begin_stop(process);
        return G_SOURCE_REMOVE;
    }
    if (type == SAMI_CHANNEL_SECRET && passed >= 0)
        take_secret(process, request, passed), passed = -1;
    if (type == SAMI_CHANNEL_RELOAD)
        reload(process, passed);
    else if (type == SAMI_CHANNEL_CONNECT && process->connect && !process->is_stopping)
        process->connect(process, request, text);
    if (passed >= 0)
        close(passed);
    return G_SOURCE_CONTINUE;
}

/* SIGTERM reaches both processes of a daemon at once, and the state process may still have to
 * say goodbye on its sessions. So it only stops new ones. */
static gboolean
on_signal(gint fd, GIOCondition condition, gpointer user_data)
{
    struct signalfd_siginfo info;
    if (read(fd, &info, sizeof(info)) == sizeof(info))
        begin_stop(user_data);
    return G_SOURCE_CONTINUE;
}

/* signalfd and not g_unix_signal_add: GLib's worker thread does not survive the fork that made
 * this process. */
static gboolean
open_signals(SamiNetworkProcess *process, GError **error)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write(2) */
    signal(SIGHUP, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) == 0 &&
        (process->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) >= 0)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "signalfd: %s", g_strerror(errno));
    return FALSE;
}

/* Where names are looked up: files one by one, as the directory of them all has our keys in it, and the directories that resolv.conf is a link into.
 * What is replaced later is not found any more, see explain_lookup() in connector.c. Code of the modules that nsswitch.conf names. */
static const SamiSandboxPath resolver[] = {
    { "/etc/resolv.conf", FALSE }, { "/etc/hosts", FALSE },          { "/etc/nsswitch.conf", FALSE },   { "/etc/host.conf", FALSE },
    { "/etc/gai.conf", FALSE },    { "/etc/services", FALSE },       { "/etc/protocols", FALSE },       { "/etc/ld.so.cache", FALSE },
    { "/run/resolvconf", FALSE },  { "/run/systemd/resolve", FALSE }, { "/run/NetworkManager", FALSE }, { "/usr/lib", FALSE },
    { "/usr/lib64", FALSE },       { "/lib", FALSE },
};

static gboolean
confine(const SamiNetworkConfig *config, gboolean is_server, GError **error)
{
    if (!config->is_sandboxed)
        return TRUE;
    return is_server ? sami_sandbox_enter(SAMI_SANDBOX_LISTENER, NULL, 0, error)
                     : sami_sandbox_enter(SAMI_SANDBOX_CONNECTOR, resolver, G_N_ELEMENTS(resolver), error);
}

gboolean
sami_network_process_init(SamiNetworkProcess *process, const SamiNetworkConfig *config,
                          gboolean is_server, int channel, const gchar *user, GError **error)
{
    pid_t parent = getppid();
    process->config = *config;
    if (config->peers)
        g_ptr_array_ref(config->peers);
    process->channel = channel;
    process->signals = process->secrets[SAMI_SECRET_KEY] = process->secrets[SAMI_SECRET_PASSPHRASE] = -1;
    process->tls = sami_tls_new(config, is_server, error);
    if (!process->tls || !sami_privileges_drop(user, error) || !open_signals(process, error) ||
        !sami_privileges_follow_parent(parent, error) || !confine(config, is_server, error) ||
        !sami_tls_try(process->tls, config, error))
        return FALSE;
    if (config->key_log)
        g_warning("key-log is set: the secrets of every TLS session are written to %s; whoever has that file can read all that these sessions carry, "
                  "now or from a capture, though not forge Messages, which are signed; it is for debugging only", config->key_log);
    process->context = g_main_context_new();
    process->loop = g_main_loop_new(process->context, FALSE);
    process->connections = g_hash_table_new(NULL, NULL);
    attach(process, SOURCE_CHANNEL, g_unix_fd_source_new(channel, G_IO_IN),
           (GSourceFunc) (void (*)(void)) on_channel);
    attach(process, SOURCE_SIGNALS, g_unix_fd_source_new(process->signals, G_IO_IN),
           (GSourceFunc) (void (*)(void)) on_signal);
    return TRUE;
}

void
sami_network_process_run(SamiNetworkProcess *process)
{
    g_main_loop_run(process->loop);
}

void
sami_network_process_clear(SamiNetworkProcess *process)
{
    GHashTableIter iter;
    gpointer connection;
    for (guint i = 0; i < G_N_ELEMENTS(process->sources); i++)
        detach(process, i);
    if (process->connections) {
        g_hash_table_iter_init(&iter, process->connections);
        while (g_hash_table_iter_next(&iter, &connection, NULL))
            sami_tls_connection_free(connection);
        g_hash_table_unref(process->connections);
    }
    g_clear_pointer(&process->sctp, sami_sctp_free);
    g_clear_pointer(&process->loop, g_main_loop_unref);
    g_clear_pointer(&process->context, g_main_context_unref);
    sami_tls_free(process->tls);
    g_clear_pointer(&process->config.peers, g_ptr_array_unref);
    close_secrets(process);
    if (process->signals >= 0)
        close(process->signals);
}

void
sami_network_process_add(SamiNetworkProcess *process, SamiTlsConnection *connection)
{
    sami_tls_connection_set_patience(connection, process->config.limits.max_delay_ms);
    g_hash_table_add(process->connections, connection);
}

void
sami_network_process_remove(SamiNetworkProcess *process, SamiTlsConnection *connection)
{
    g_hash_table_remove(process->connections, connection);
    if (process->is_stopping && g_hash_table_size(process->connections) == 0)
        g_main_loop_quit(process->loop);
}
