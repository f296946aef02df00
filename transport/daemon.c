#include "transport/daemon.h"

#include <errno.h>
#include <glib-unix.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/limits.h"
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
    g_strfreev(peer->addresses);
    g_free(peer->certificate_file);
    g_free(peer);
}

/* (transfer full) of SamiPeer */
static GPtrArray *
make_peers(const SamiConfig *config)
{
    GPtrArray *peers = g_ptr_array_new_with_free_func(peer_free);
    for (guint i = 0; i < config->peers->len; i++) {
        const SamiConfigPeer *from = g_ptr_array_index(config->peers, i);
        SamiPeer *peer = g_new0(SamiPeer, 1);
        peer->name = g_strdup(from->name);
        peer->addresses = g_strdupv(from->addresses);
        peer->certificate_file = g_strdup(from->certificate_file);
        g_ptr_array_add(peers, peer);
    }
    return peers;
}

/* In the network process, after a SIGHUP that the state process has found correct. */
static GPtrArray *
load_peers(gpointer user_data, GError **error)
{
    const SamiConfig *config = user_data;
    g_autoptr(SamiConfig) fresh = sami_config_load(config->path, error);
    return fresh ? make_peers(fresh) : NULL;
}

SamiNetworkConfig
sami_daemon_network_config(const SamiConfig *config)
{
    return (SamiNetworkConfig){ .listen = config->listen, .certificate_file = config->certificate, .key_file = config->key,
                                .ca_file = config->tls_ca, .key_log = config->key_log, .connect_timeout_s = 5, .peers = make_peers(config),
                                .is_sctp = !strcmp(config->transport, "sctp"),
                                .sctp = { .backend = sami_sctp_backend_parse(config->sctp_backend), .udp_port = (guint16) config->sctp_udp_port },
                                .load_peers = load_peers, .user_data = (gpointer) config };
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

/* What the supervisor waits for; blocked in it from before the forks, so that none is lost. */
static void
fill_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGCHLD);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

void
sami_daemon_tell_gone(const gchar *process, const GError *error)
{
    if (error)
        g_critical("the %s is gone: %s", process, error->message);
    else
        g_message("the %s is gone", process);
}

static gboolean
on_end(gpointer user_data)
{
    g_main_loop_quit(user_data);
    return G_SOURCE_CONTINUE; /* without a source a second signal, the supervisor's after systemd's, would kill it on its way out */
}

void
sami_daemon_take_signals(GMainLoop *loop, GSourceFunc on_reload, gpointer user_data)
{
    sigset_t set;
    g_unix_signal_add(SIGTERM, on_end, loop);
    g_unix_signal_add(SIGINT, on_end, loop);
    g_unix_signal_add(SIGHUP, on_reload, user_data);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* In a child. A SIGHUP before the state process has its handler asks for what it does anyway: read the configuration. */
static void
reset_signals(gboolean is_state)
{
    sigset_t set;
    fill_signals(&set);
    if (is_state) { /* sami_daemon_take_signals() */
        sigdelset(&set, SIGTERM);
        sigdelset(&set, SIGINT);
    }
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
}

static gboolean
ended_well(int status)
{
    return WIFSIGNALED(status) ? WTERMSIG(status) == SIGTERM : WEXITSTATUS(status) == EXIT_SUCCESS;
}

/* Waits until a child ends or a signal comes, then ends both. SIGHUP goes to the state process, which tells the other one. What a
 * child's end was is said after both ends: one that finds the other gone ends well, and may be seen first. */
static int
supervise(const SamiDaemon *daemon, const pid_t children[2])
{
    static const gchar *const names[] = { "network process", "state process" };
    sigset_t set;
    int status[2] = { 0 }, signal_number = 0;
    gboolean is_told = FALSE;
    siginfo_t ended = { 0 };
    fill_signals(&set);
    while (ended.si_pid == 0 && !is_told) {
        if (sigwait(&set, &signal_number) != 0)
            continue;
        if (signal_number == SIGHUP)
            kill(children[1], SIGHUP);
        else if (signal_number == SIGCHLD)
            waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT); /* one that is only stopped raises it too */
        is_told = signal_number == SIGTERM || signal_number == SIGINT;
    }
    for (guint i = 0; i < 2; i++)
        kill(children[i], SIGTERM); /* harmless for one that has ended: nobody has waited for it */
    for (guint i = 0; i < 2; i++)
        while (waitpid(children[i], &status[i], 0) < 0 && errno == EINTR)
            ;
    for (guint i = 0; i < 2; i++)
        if (!ended_well(status[i]))
            g_critical("%s: the %s ended %s %d", daemon->name, names[i], WIFSIGNALED(status[i]) ? "by signal" : "with status",
                       WIFSIGNALED(status[i]) ? WTERMSIG(status[i]) : WEXITSTATUS(status[i]));
    if (ended_well(status[0]) && ended_well(status[1])) {
        if (is_told)
            return EXIT_SUCCESS;
        g_critical("%s: a process ended that nobody had told to", daemon->name);
    }
    return EXIT_FAILURE;
}

/* Many systems give 1024 and allow more. With what they allow at most, fewer sessions fit, and each refusal says why. */
static void
raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= SAMI_DESCRIPTORS_MAX)
        return;
    limit.rlim_cur = MIN(limit.rlim_max, SAMI_DESCRIPTORS_MAX);
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int
start(const SamiDaemon *daemon, const SamiConfig *config)
{
    g_autoptr(GError) error = NULL;
    g_autofree gchar *sctp = NULL;
    int channel[2], listener = -1;
    pid_t children[2];
    SamiNetworkConfig network = sami_daemon_network_config(config);
    raise_descriptors();
    if ((network.is_sctp && !sami_sctp_prepare(&network.sctp, &sctp, &error)) ||
        (daemon->is_listener && (listener = sami_listener_open(&network, &error)) < 0)) {
        g_printerr("%s: %s\n", daemon->name, error->message);
        return EXIT_FAILURE;
    }
    if (sctp)
        g_message("%s", sctp);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0) {
        g_printerr("%s: socketpair: %s\n", daemon->name, g_strerror(errno));
        return EXIT_FAILURE;
    }
    sigset_t set;
    fill_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (guint i = 0; i < 2; i++) {
        children[i] = fork();
        if (children[i] < 0) {
            g_printerr("%s: fork: %s\n", daemon->name, g_strerror(errno));
            return EXIT_FAILURE;
        }
        if (children[i] > 0)
            continue;
        reset_signals(i == 1);
        close(channel[1 - i]);
        if (i == 1) {
            if (listener >= 0)
                close(listener);
            _exit(daemon->run_state(config, channel[1]));
        }
        const gchar *user = config->user && *config->user ? config->user : NULL;
        _exit(daemon->is_listener ? sami_listener_run(&network, listener, channel[0], user)
                                  : sami_connector_run(&network, channel[0], user));
    }
    close(channel[0]);
    close(channel[1]);
    if (listener >= 0)
        close(listener);
    g_ptr_array_unref(network.peers); /* the network process has its own */
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
