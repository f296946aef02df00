#include "transport/daemon.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "config.h"

/* Whoever is not root is told so before anything else is tried. */
static int
check_root(const SamiDaemon *daemon)
{
    if (geteuid() == 0)
        return 0;
    g_printerr("%s: must be started as root: it reads keys, binds sockets and needs CAP_NET_ADMIN; "
               "it drops everything else itself\n", daemon->name);
    return EXIT_FAILURE;
}

static void
peer_free(gpointer data)
{
    SamiPeer *peer = data;
    g_free(peer->name);
    g_free(peer->address);
    g_free(peer->certificate_file);
    g_free(peer);
}

/* Borrows the strings of `config`, which outlives the process. */
static SamiNetworkConfig
network_config(const SamiConfig *config)
{
    SamiNetworkConfig network = { .listen = config->listen, .certificate_file = config->certificate,
                                  .key_file = config->key, .ca_file = config->tls_ca, .connect_timeout_s = 5 };
    network.peers = g_ptr_array_new_with_free_func(peer_free);
    for (guint i = 0; i < config->peers->len; i++) {
        const SamiConfigPeer *from = g_ptr_array_index(config->peers, i);
        SamiPeer *peer = g_new0(SamiPeer, 1);
        peer->name = g_strdup(from->name);
        peer->address = g_strdup(from->address);
        peer->certificate_file = g_strdup(from->certificate_file);
        g_ptr_array_add(network.peers, peer);
    }
    return network;
}

gboolean
sami_daemon_keep_net_admin(GError **error)
{
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2] = { { 0 } };
    if (geteuid() != 0)
        return TRUE;
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        if (cap != CAP_NET_ADMIN && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_PERMISSION, "cannot drop capability %d: %s", cap, g_strerror(errno));
            return FALSE;
        }
    data[0].effective = data[0].permitted = 1u << CAP_NET_ADMIN;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_capset, &header, data) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_PERMISSION, "cannot drop capabilities: %s", g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

static volatile sig_atomic_t stop_signal;

static void
on_stop(int signal_number)
{
    stop_signal = signal_number;
}

static void
reset_signals(void)
{
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
}

/* Waits until a child ends or a signal comes, then ends both. */
static int
supervise(const SamiDaemon *daemon, const pid_t children[2])
{
    static const gchar *const names[] = { "network process", "state process" };
    struct sigaction action = { .sa_handler = on_stop };
    int status = 0;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    pid_t ended = waitpid(-1, &status, 0);
    gboolean is_stopping = stop_signal != 0;
    for (guint i = 0; i < 2; i++)
        if (children[i] == ended && !is_stopping)
            g_critical("%s: the %s ended %s %d", daemon->name, names[i], WIFSIGNALED(status) ? "by signal" : "with status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    for (guint i = 0; i < 2; i++)
        if (children[i] != ended)
            kill(children[i], SIGTERM);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
    return is_stopping ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int
start(const SamiDaemon *daemon, const SamiConfig *config)
{
    g_autoptr(GError) error = NULL;
    int channel[2], listener = -1;
    pid_t children[2];
    if (daemon->is_listener && (listener = sami_listener_open(config->listen, &error)) < 0) {
        g_printerr("%s: %s\n", daemon->name, error->message);
        return EXIT_FAILURE;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0) {
        g_printerr("%s: socketpair: %s\n", daemon->name, g_strerror(errno));
        return EXIT_FAILURE;
    }
    for (guint i = 0; i < 2; i++) {
        children[i] = fork();
        if (children[i] < 0) {
            g_printerr("%s: fork: %s\n", daemon->name, g_strerror(errno));
            return EXIT_FAILURE;
        }
        if (children[i] > 0)
            continue;
        reset_signals();
        close(channel[1 - i]);
        if (i == 1) {
            if (listener >= 0)
                close(listener);
            _exit(daemon->run_state(config, channel[1]));
        }
        SamiNetworkConfig network = network_config(config);
        const gchar *user = config->user && *config->user ? config->user : NULL;
        _exit(daemon->is_listener ? sami_listener_run(&network, listener, channel[0], user)
                                  : sami_connector_run(&network, channel[0], user));
    }
    close(channel[0]);
    close(channel[1]);
    if (listener >= 0)
        close(listener);
    return supervise(daemon, children);
}

int
sami_daemon_main(const SamiDaemon *daemon, int argc, char **argv)
{
    g_autofree gchar *path = NULL;
    gboolean is_checking = FALSE, is_foreground = FALSE, is_debug = FALSE, is_version = FALSE;
    const GOptionEntry entries[] = {
        { "config", 'c', 0, G_OPTION_ARG_FILENAME, &path, "configuration (default " SAMI_SYSCONFDIR "/sami.conf)", "FILE" },
        { "foreground", 'f', 0, G_OPTION_ARG_NONE, &is_foreground, "stay in the foreground (always so)", NULL },
        { "check-config", 0, 0, G_OPTION_ARG_NONE, &is_checking, "read the configuration, say what is wrong, end", NULL },
        { "debug", 0, 0, G_OPTION_ARG_NONE, &is_debug, "log debug messages", NULL },
        { "version", 0, 0, G_OPTION_ARG_NONE, &is_version, "print the version and end", NULL },
        { NULL },
    };
    g_autoptr(GOptionContext) options = g_option_context_new("- firewall state migration");
    g_autoptr(GError) error = NULL;
    g_option_context_set_summary(options, daemon->summary);
    g_option_context_add_main_entries(options, entries, NULL);
    if (!g_option_context_parse(options, &argc, &argv, &error) || argc > 1) {
        g_printerr("%s: %s\nTry '%s --help'.\n", daemon->name, error ? error->message : "takes no arguments", daemon->name);
        return 2;
    }
    if (is_version) {
        g_print("%s %s, enterprise number %u\n", daemon->name, PACKAGE_VERSION, SAMI_PEN);
        return EXIT_SUCCESS;
    }
    sami_log_init(daemon->name, is_debug);
    g_autoptr(SamiConfig) config = sami_config_load(path ? path : SAMI_SYSCONFDIR "/sami.conf", &error);
    if (!config) {
        g_printerr("%s: %s\n", daemon->name, error->message);
        return EXIT_FAILURE;
    }
    if (is_checking) {
        g_print("%s: %s is correct\n", daemon->name, config->path);
        return EXIT_SUCCESS;
    }
    int status = check_root(daemon);
    return status ? status : start(daemon, config);
}
