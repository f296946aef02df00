#include "transport/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/limits.h"
#include "common/log.h"
#include "common/trust.h"
#include "config.h"
#include "templates/private-key.h"
#include "transport/pki.h"
#include "transport/privileges.h"
#include "transport/reload.h"
#include "transport/sandbox.h"
#include "transport/session.h"
#include "transport/tls-context.h"
#include "transport/tls-memory.h"

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

/* (transfer full) of SamiPeer */
static GPtrArray *
make_peers(const SamiConfig *config)
{
    GPtrArray *peers = g_ptr_array_new_with_free_func(sami_peer_free);
    for (guint i = 0; i < config->peers->len; i++) {
        const SamiConfigPeer *from = g_ptr_array_index(config->peers, i);
        SamiPeer *peer = g_new0(SamiPeer, 1);
        peer->name = g_strdup(from->name);
        peer->addresses = g_strdupv(from->addresses);
        peer->certificate_file = g_strdup(from->certificate_file);
        peer->certificate = g_strdup(from->certificate);
        g_ptr_array_add(peers, peer);
    }
    return peers;
}

static SamiNetworkLimits
limits_of(const SamiConfig *config)
{
    return (SamiNetworkLimits){ .sessions = config->peer_sessions, .max_delay_ms = config->max_delay_ms };
}

SamiNetworkConfig
sami_daemon_network_config(const SamiConfig *config)
{
    return (SamiNetworkConfig){ .listen = config->listen, .certificate_file = config->certificate, .key_file = config->key, .passphrase_file = config->key_passphrase_file,
                                .ca_file = config->tls_ca, .ca = config->ca, .key_log = config->key_log, .connect_timeout_s = 5, .peers = make_peers(config),
                                .is_sctp = !strcmp(config->transport, "sctp"),
                                .sctp = { .backend = sami_sctp_backend_parse(config->sctp_backend), .udp_port = (guint16) config->sctp_udp_port },
                                .limits = limits_of(config), .is_sandboxed = sami_daemon_is_sandboxed(config) };
}

gboolean
sami_daemon_is_sandboxed(const SamiConfig *config)
{
    return strcmp(config->sandbox, "off") != 0;
}

gboolean
sami_daemon_keeps_root(const SamiConfig *config)
{
    return !config->user || !*config->user;
}

/* Calls `func` with each file that a reload may name anew, or replace, until it returns FALSE; those that are not configured, and keys that are no files,
 * are left out. */
static gboolean
for_each_file(const SamiConfig *config, gboolean (*func)(const gchar *file, gpointer user_data), gpointer user_data)
{
    gboolean has_key_file = config->signing_key && !sami_private_key_is_uri(config->signing_key);
    const gchar *const ours[] = { config->tls_ca, config->key_passphrase_file, has_key_file ? config->signing_key : NULL };
    gboolean goes_on = TRUE;
    for (guint i = 0; goes_on && i < G_N_ELEMENTS(ours); i++)
        goes_on = !ours[i] || func(ours[i], user_data);
    for (guint i = 0; goes_on && i < config->peers->len; i++) {
        const SamiConfigPeer *peer = g_ptr_array_index(config->peers, i);
        goes_on = (!peer->certificate_file || func(peer->certificate_file, user_data)) && (!peer->signing_key_file || func(peer->signing_key_file, user_data));
    }
    for (guint i = 0; goes_on && i < config->signers->len; i++) {
        const SamiConfigSigner *signer = g_ptr_array_index(config->signers, i);
        for (guint k = 0; goes_on && signer->key_files && signer->key_files[k]; k++)
            goes_on = func(signer->key_files[k], user_data);
    }
    return goes_on;
}

typedef struct {
    GArray *paths;    /* of SamiSandboxPath */
    GPtrArray *names; /* the strings in it */
} Paths;

/* Directories and not files: what is replaced is another file. */
static gboolean
add_directory(const gchar *file, gpointer user_data)
{
    Paths *paths = user_data;
    g_ptr_array_add(paths->names, g_path_get_dirname(file));
    g_array_append_val(paths->paths, ((SamiSandboxPath){ paths->names->pdata[paths->names->len - 1], FALSE }));
    return TRUE;
}

/* `names` keeps the strings. (transfer full) of SamiSandboxPath */
static GArray *
list_paths(const SamiConfig *config, GPtrArray *names)
{
    const SamiSandboxPath fixed[] = { { config->run_dir, TRUE }, { config->journal_dir, TRUE }, { "/proc", FALSE } };
    Paths paths = { g_array_new(FALSE, FALSE, sizeof(SamiSandboxPath)), names };
    g_array_append_vals(paths.paths, fixed, G_N_ELEMENTS(fixed));
    add_directory(config->path, &paths);
    add_directory(config->certificate, &paths);
    if (!sami_private_key_is_uri(config->key))
        add_directory(config->key, &paths);
    for_each_file(config, add_directory, &paths);
    return paths.paths;
}

gboolean
sami_daemon_confine(const SamiConfig *config, const SamiKey *key, gboolean is_collector, gboolean *ret_is_partial, GError **error)
{
    g_autofree gchar *lacks = sami_sandbox_lacks();
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GArray) paths = list_paths(config, names);
    *ret_is_partial = lacks != NULL;
    return sami_privileges_keep(CAP_NET_ADMIN, error) &&
           (!sami_daemon_is_sandboxed(config) ||
            sami_sandbox_enter(is_collector ? SAMI_SANDBOX_COLLECTOR : SAMI_SANDBOX_EXPORTER, (const SamiSandboxPath *) (const void *) paths->data,
                               paths->len, error)) &&
           sami_key_try(key, config->signing_key, error);
}

static gboolean
check_file(const gchar *file, gpointer error)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* as sami_trust_open() */
    if (fd >= 0)
        close(fd);
    if (fd >= 0 || errno != EACCES)
        return TRUE;
    g_set_error((GError **) error, SAMI_ERROR, SAMI_ERROR_CONFIG,
                "%s: %s; the sandbox keeps a daemon to the directories that its configuration named at the start: restart it", file, g_strerror(EACCES));
    return FALSE;
}

/* What peers and signers are believed by, as whoever uses it reads it. */
static gboolean
check_peers(const SamiConfig *config, GError **error)
{
    SamiNetworkConfig network = sami_daemon_network_config(config);
    gboolean is_right = sami_tls_check(&network, error);
    g_ptr_array_unref(network.peers);
    for (guint i = 0; is_right && i < config->peers->len; i++) {
        const SamiConfigPeer *peer = g_ptr_array_index(config->peers, i);
        g_autoptr(GPtrArray) keys = peer->signing_key_file ? sami_keys_load_public(peer->signing_key_file, SAMI_TRUST_PUBLIC, error) : NULL;
        is_right = keys || !peer->signing_key_file;
        if (!is_right)
            g_prefix_error(error, "peer %s: signing-key: ", peer->name);
    }
    return is_right;
}

gboolean
sami_daemon_read_peers(SamiConfig *config, GError **error)
{
    gsize length;
    if (config->tls_ca && !(config->ca = sami_trust_read(config->tls_ca, SAMI_TRUST_PUBLIC, SAMI_CA_MAX, &length, error))) {
        g_prefix_error(error, "tls-ca ");
        return FALSE;
    }
    for (guint i = 0; i < config->peers->len; i++) {
        SamiConfigPeer *peer = g_ptr_array_index(config->peers, i);
        if (!peer->certificate_file || (peer->certificate = sami_trust_read(peer->certificate_file, SAMI_TRUST_PUBLIC, SAMI_CERTIFICATES_MAX, &length, error)))
            continue;
        g_prefix_error(error, "peer %s: ", peer->name);
        return FALSE;
    }
    return check_peers(config, error);
}

SamiConfig *
sami_daemon_reload_config(const SamiConfig *old, GError **error)
{
    g_autoptr(SamiConfig) fresh = NULL;
    /* Another directory in the place of ours is as far away as any new one. */
    if (!check_file(old->path, error) || !(fresh = sami_config_reload(old, error)))
        return NULL;
    g_autofree gchar *kept = sami_config_keep_fixed(fresh, old);
    if (!for_each_file(fresh, check_file, error) || !sami_daemon_read_peers(fresh, error))
        return NULL;
    if (kept)
        g_warning("reload: these keys take effect at the next start: %s", kept);
    return g_steal_pointer(&fresh);
}

SamiConfig *
sami_daemon_fail_reload(const SamiConfig *old, guint64 *n_errors, const GError *error)
{
    g_autofree gchar *names = NULL;
    SamiConfig *left = sami_config_without_gone(old, &names);
    ++*n_errors;
    g_warning("reload: the old configuration stays in use: %s", error->message);
    if (left)
        g_warning("reload: but without %s, whose files were removed", names);
    return left;
}

/* What changes when the file does, by its own writing, by another one in its place, or by who may read it. (transfer full) */
static gchar *
stamp_file(const gchar *place)
{
    struct stat status;
    if (!place || stat(place, &status) != 0)
        return g_strdup(place ? place : "");
    return g_strdup_printf("%s %" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT " %" G_GINT64_FORMAT " %" G_GINT64_FORMAT ".%09ld", place, (guint64) status.st_dev,
                           (guint64) status.st_ino, (gint64) status.st_size, (gint64) status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
}

gboolean
sami_daemon_load_key(const SamiConfig *config, SamiKey **key, gchar **stamp, GError **error)
{
    g_autofree gchar *of_key = stamp_file(config->signing_key), *of_passphrase = stamp_file(config->key_passphrase_file);
    g_autofree gchar *now = g_strconcat(of_key, "\n", of_passphrase, NULL);
    gchar id[SAMI_KEY_ID_TEXT];
    if (*key && g_strcmp0(*stamp, now) == 0)
        return TRUE;
    SamiKey *fresh = sami_key_load_private(config->signing_key, config->key_passphrase_file, error);
    if (!fresh || !sami_key_try(fresh, config->signing_key, error)) {
        sami_key_free(fresh);
        return FALSE;
    }
    if (!*key || memcmp(sami_key_id(*key), sami_key_id(fresh), SAMI_KEY_ID) != 0)
        g_message("%s: signs with key %s", config->name, sami_key_id_text(sami_key_id(fresh), id));
    sami_key_free(*key);
    *key = fresh;
    g_free(*stamp);
    *stamp = g_steal_pointer(&now);
    return TRUE;
}

static gboolean
pass_secret(int channel, SamiChannelSecret which, const gchar *file, GError **error)
{
    int fd = sami_trust_open(file, SAMI_TRUST_SECRET, error);
    gboolean is_passed = fd >= 0 && sami_channel_send(channel, SAMI_CHANNEL_SECRET, which, NULL, fd, error);
    if (fd >= 0)
        close(fd);
    return is_passed;
}

/* Without its key the network process keeps our old certificate, as it would if they did not belong together. */
static gboolean
pass_identity(const SamiConfig *config, const SamiNetworkConfig *network, int channel, GError **error)
{
    return sami_tls_check_identity(network, error) &&
           (!config->key_passphrase_file || pass_secret(channel, SAMI_SECRET_PASSPHRASE, config->key_passphrase_file, error)) &&
           pass_secret(channel, SAMI_SECRET_KEY, config->key, error);
}

void
sami_daemon_send_reload(const SamiConfig *config, int channel, gboolean with_identity, guint64 *n_errors)
{
    g_autoptr(GError) of_identity = NULL, of_peers = NULL;
    SamiNetworkConfig network = sami_daemon_network_config(config);
    /* A key behind a URI is one for the next start. */
    if (with_identity && !sami_private_key_is_uri(config->key) && !pass_identity(config, &network, channel, &of_identity)) {
        g_warning("reload: our old certificate stays in use: %s", of_identity->message);
        ++*n_errors;
    }
    int fd = sami_reload_write(&network, &of_peers);
    if (fd < 0 || !sami_channel_send(channel, SAMI_CHANNEL_RELOAD, 0, NULL, fd, &of_peers)) {
        g_warning("reload: the network process keeps its old peers: %s", of_peers->message);
        ++*n_errors;
    }
    if (fd >= 0)
        close(fd);
    g_ptr_array_unref(network.peers);
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

void
sami_daemon_count_bad(guint64 *counter, const GError *error)
{
    ++*counter;
    if ((*counter & (*counter - 1)) == 0)
        g_warning("%s; %" G_GUINT64_FORMAT " such packets so far: the network process does not do as it should", error->message, *counter);
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

/* What whoever started us had open is no business of ours, and none of processes that talk to the network. */
static void
close_inherited(void)
{
    close_range(STDERR_FILENO + 1, ~0u, 0);
}

static gboolean
has_group(const gchar *name)
{
    struct group entry, *found = NULL;
    gchar buffer[16384]; /* what has more members is there */
    return getgrnam_r(name, &entry, buffer, sizeof buffer, &found) != 0 || found;
}

/* No mistake where only root works here, and an easy one where not. */
static void
tell_groups(const SamiConfig *config)
{
    const struct {
        const gchar *key, *group;
    } groups[] = { { "control-group", config->control_group }, { "monitor-group", config->monitor_group } };
    for (guint i = 0; i < G_N_ELEMENTS(groups); i++)
        if (*groups[i].group && !has_group(groups[i].group))
            g_message("%s = %s: there is no such group, so nobody is in it", groups[i].key, groups[i].group);
}

/* Once for the daemon, not by each process. */
static void
tell_sandbox(const SamiConfig *config)
{
    g_autofree gchar *lacks = sami_sandbox_lacks();
    if (!sami_daemon_is_sandboxed(config))
        g_warning("sandbox = off: the processes of this daemon may make every system call, and open every file that their users may; it is for "
                  "debugging only");
    else if (lacks)
        g_warning("the sandbox is not whole; missing is %s", lacks);
}

static void
tell_user(const SamiConfig *config)
{
    if (sami_daemon_keeps_root(config))
        g_warning("user is empty: the network process of this daemon stays root, without capabilities; whoever breaks into it owns what root owns, and the "
                  "control sockets cannot tell it from root");
}

/* Of no use to anybody, and no peer would say so in a way that its operator sees here. */
static gboolean
check_certificate(const SamiConfig *config, GError **error)
{
    gsize length = 0;
    gint64 expiry_s = 0;
    g_autofree gchar *pem = sami_trust_read(config->certificate, SAMI_TRUST_PUBLIC, SAMI_CERTIFICATES_MAX, &length, error);
    if (!pem || !sami_pki_certificate_names(pem, length, config->name, error) || !sami_pki_certificate_expiry(pem, length, &expiry_s, error)) {
        if (pem)
            g_prefix_error(error, "%s: ", config->certificate);
        return FALSE;
    }
    if (expiry_s > g_get_real_time() / G_USEC_PER_SEC)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "%s: the certificate has expired", config->certificate);
    return FALSE;
}

static gboolean
check_directory(const gchar *path, GError **error)
{
    return !g_file_test(path, G_FILE_TEST_EXISTS) || sami_trust_directory(path, FALSE, error); /* a start makes one that is missing */
}

/* It is not made here; what is there has to be a file that is nobody else's. */
static gboolean
check_key_log(const gchar *path, GError **error)
{
    g_autofree gchar *directory = path ? g_path_get_dirname(path) : NULL;
    if (path && g_file_test(path, G_FILE_TEST_EXISTS)) {
        int fd = sami_trust_open(path, SAMI_TRUST_SECRET, error);
        if (fd >= 0)
            close(fd);
        return fd >= 0;
    }
    if (!path || g_file_test(directory, G_FILE_TEST_IS_DIR))
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "key-log %s: %s", path, g_strerror(ENOENT));
    return FALSE;
}

/* What a start would trip over. Tokens are left alone: they count PINs that are wrong. */
static gboolean
check_all(const SamiDaemon *daemon, SamiConfig *config, GError **error)
{
    if (!sami_daemon_read_peers(config, error))
        return FALSE;
    SamiNetworkConfig network = sami_daemon_network_config(config);
    g_autoptr(SamiTls) tls = NULL;
    g_autoptr(SamiKey) key = NULL;
    network.key_log = NULL; /* is not to be made */
    gboolean is_right = check_certificate(config, error) &&
                        (sami_private_key_is_uri(config->key) || (tls = sami_tls_new(&network, daemon->is_listener, error))) &&
                        (sami_private_key_is_uri(config->signing_key) ||
                         (key = sami_key_load_private(config->signing_key, config->key_passphrase_file, error))) &&
                        (sami_daemon_keeps_root(config) || sami_privileges_check_user(config->user, error)) && check_key_log(config->key_log, error) && check_directory(config->run_dir, error) &&
                        check_directory(config->journal_dir, error) && daemon->check(config, error);
    g_ptr_array_unref(network.peers);
    return is_right;
}

/* It can still end its children, wait, and log. A sanitizer looks for leaks in it when it ends, in a way that no sandbox would allow. */
static gboolean
confine_supervisor(const SamiConfig *config, GError **error)
{
#ifdef SAMI_SANITIZERS
    return TRUE;
#else
    return sami_privileges_keep(CAP_KILL, error) && (!sami_daemon_is_sandboxed(config) || sami_sandbox_enter(SAMI_SANDBOX_SUPERVISOR, NULL, 0, error));
#endif
}

static int
start(const SamiDaemon *daemon, SamiConfig *config)
{
    g_autoptr(GError) error = NULL;
    g_autofree gchar *sctp = NULL;
    int channel[2], listener = -1;
    pid_t children[2];
    if (!sami_daemon_read_peers(config, &error)) {
        g_printerr("%s: %s\n", daemon->name, error->message);
        return EXIT_FAILURE;
    }
    SamiNetworkConfig network = sami_daemon_network_config(config);
    g_autoptr(GError) certificate = NULL;
    raise_descriptors();
    tell_sandbox(config);
    tell_user(config);
    tell_groups(config);
    if (!check_certificate(config, &certificate))
        g_warning("peers will refuse us: %s", certificate->message);
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
        const gchar *user = sami_daemon_keeps_root(config) ? NULL : config->user;
        _exit(daemon->is_listener ? sami_listener_run(&network, listener, channel[0], user)
                                  : sami_connector_run(&network, channel[0], user));
    }
    close(channel[0]);
    close(channel[1]);
    if (listener >= 0)
        close(listener);
    g_ptr_array_unref(network.peers); /* the network process has its own */
    if (!confine_supervisor(config, &error)) {
        g_critical("%s: %s", daemon->name, error->message);
        for (guint i = 0; i < 2; i++)
            kill(children[i], SIGTERM);
        return EXIT_FAILURE;
    }
    return supervise(daemon, children);
}

int
sami_daemon_main(const SamiDaemon *daemon, int argc, char **argv)
{
    g_autofree gchar *path = NULL;
    gboolean is_checking = FALSE, is_help = FALSE, is_foreground = FALSE, is_debug = FALSE, is_version = FALSE;
    const GOptionEntry entries[] = {
        { "config", 'c', 0, G_OPTION_ARG_FILENAME, &path, "configuration (default " SAMI_SYSCONFDIR "/sami.conf)", "FILE" },
        { "foreground", 'f', 0, G_OPTION_ARG_NONE, &is_foreground, "stay in the foreground (always so)", NULL },
        { "check-config", 0, 0, G_OPTION_ARG_NONE, &is_checking, "read the configuration and the keys that it names, say what is wrong, end", NULL },
        { "help-config", 0, 0, G_OPTION_ARG_NONE, &is_help, "list the keys of the configuration with types and defaults, end", NULL },
        { "debug", 0, 0, G_OPTION_ARG_NONE, &is_debug, "log debug messages", NULL },
        { "version", 0, 0, G_OPTION_ARG_NONE, &is_version, "print the version and end", NULL },
        { NULL },
    };
    g_autoptr(GOptionContext) options = g_option_context_new("- firewall state migration");
    g_autoptr(GError) error = NULL;
    close_inherited();
    sami_tls_wipe_freed();
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
    if (is_help) {
        g_autofree gchar *keys = sami_config_help();
        g_print("%s", keys);
        return EXIT_SUCCESS;
    }
    sami_log_init(daemon->name, is_debug);
    g_autoptr(SamiConfig) config = sami_config_load(path ? path : SAMI_SYSCONFDIR "/sami.conf", &error);
    if (!config) {
        g_printerr("%s: %s\n", daemon->name, error->message);
        return EXIT_FAILURE;
    }
    if (is_checking && !check_all(daemon, config, &error)) {
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
