/* What both daemons share: command line, configuration, the supervisor and its two processes (DESIGN §4).
 *
 * The supervisor reads the configuration, binds sockets, forks the network process and the state process, and waits: when one of
 * them ends, the other is ended too and the daemon's exit status says so. SIGHUP goes to the state process, which reads the configuration again
 * and, when it is correct, sends RELOAD with limits, peers and certificates over the channel, our own among them, and before it descriptors of our key. */
#pragma once

#include "common/config.h"
#include "templates/signature.h"
#include "transport/network.h"

typedef struct {
    const gchar *name;       /* "sami-exporter" */
    const gchar *summary;    /* one line for --help */
    gboolean is_listener;    /* TRUE: listens (collector); FALSE: connects (exporter) */
    /* The state process: runs until told to stop (SIGTERM) or until the channel closes. It still has every privilege and drops to
     * CAP_NET_ADMIN itself, after opening what it needs. SIGTERM and SIGINT wait until it takes them: what it has made by then is removed in
     * order. Returns the exit status. */
    int (*run_state)(const SamiConfig *config, int channel);
    /* For --check-config: what only this daemon reads. SAMI_ERROR_CONFIG. */
    gboolean (*check)(const SamiConfig *config, GError **error);
} SamiDaemon;

/* Options: -c FILE, -f (foreground, the default and only mode), --check-config, --help-config, --debug, --help, --version. */
int sami_daemon_main(const SamiDaemon *daemon, int argc, char **argv);

/* What a network process needs of a configuration. Borrows its strings; `peers` is (transfer full). */
SamiNetworkConfig sami_daemon_network_config(const SamiConfig *config);

/* sandbox=, see transport/sandbox.h. */
gboolean sami_daemon_is_sandboxed(const SamiConfig *config);
/* user= is empty: the network process is root, though without capabilities. */
gboolean sami_daemon_keeps_root(const SamiConfig *config);

/* For run_state, when it has opened what it needs and before its first thread: keeps CAP_NET_ADMIN only (harmless when not root), no new privileges,
 * no core file, and enters its sandbox: run-dir and journal-dir to write, the directories of the configuration and of the files that it names to read.
 * Whether `key` signs even so is tried. `ret_is_partial`: the kernel cannot do all of it. */
gboolean sami_daemon_confine(const SamiConfig *config, const SamiKey *key, gboolean is_collector, gboolean *ret_is_partial, GError **error);

/* Reads the certificates of the peers, and the CAs, of a configuration that was just loaded into it: from then on they are what they are, whatever becomes
 * of the files. Whether they can be used, and the keys of peers. SAMI_ERROR_CONFIG. */
gboolean sami_daemon_read_peers(SamiConfig *config, GError **error);
/* For run_state, at a reload: the configuration as it is now, when that is so, with what takes effect at a start only as it was. (transfer full) */
SamiConfig *sami_daemon_reload_config(const SamiConfig *old, GError **error);
/* When not: logs and counts it. Nothing new is taken, but who was removed goes all the same: what is left of `old` without them, to be used and sent;
 * NULL: all of it. (transfer full) */
SamiConfig *sami_daemon_fail_reload(const SamiConfig *old, guint64 *n_errors, const GError *error);
/* The peers of this configuration go to the network process, which opens no file itself, and `with_identity` our own certificate and its key as they are
 * now. What cannot be read or sent is logged, and counted in `n_errors`. */
void sami_daemon_send_reload(const SamiConfig *config, int channel, gboolean with_identity, guint64 *n_errors);

/* For run_state, at start and at each reload: the signing key. A file that has not changed since *stamp (transfer full) is not read again: an encrypted
 * key takes a while. On failure *key stays. */
gboolean sami_daemon_load_key(const SamiConfig *config, SamiKey **key, gchar **stamp, GError **error);
/* For run_state: the network process is gone, because of `error` (nullable) or in order. At a stop it may end first; its own end is the supervisor's
 * to judge. */
void sami_daemon_tell_gone(const gchar *process, const GError *error);

/* For run_state: a packet of the channel that breaks its rules. It is passed over, since the network process need not be who it was, and can ask for
 * nothing but sessions, each of which has to prove itself. Counts, and warns of the first and of each power of two. */
void sami_daemon_count_bad(guint64 *counter, const GError *error);

/* For run_state, after the drop of privileges (GLib's signal thread inherits what it finds): SIGTERM and SIGINT, those that came earlier
 * included, quit LOOP; SIGHUP calls ON_RELOAD. */
void sami_daemon_take_signals(GMainLoop *loop, GSourceFunc on_reload, gpointer user_data);
