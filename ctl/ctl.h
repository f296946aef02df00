/* samictl: a table of verbs over the control sockets, the configuration directory and the keys.
 *
 * A handler prints what the operator asked for on standard output and returns an exit code of
 * OPERATIONS §2. If it sets an error, that error is printed with `samictl: ` on standard error and
 * decides the exit code. Nothing else exits. */
#pragma once

#include <stdio.h>

#include "common/config.h"
#include "common/control.h"

/* What the command line said; one struct for all verbs. Strings are NULL and flags FALSE where
 * nothing was given. */
typedef struct {
    gboolean is_help, is_version, is_quiet, is_json;
    gboolean is_yes, is_send, is_receive, is_both;
    gboolean is_now, is_hold, is_open;
    gboolean is_list, is_remove, is_keep, is_purge;
    gboolean is_wait, is_stop, is_yield, is_write;
    gboolean is_csr, is_here_only, is_tls, is_activate, is_finish;
    gchar *socket, *config_dir, *host;
    gchar *name, *address, *allow, *nat_addresses, *fingerprint;
    gchar *allow_there, *certificate, *encrypt;
    gchar *to, *mark, *zone, *vlan, *deadline, *on_late, *timeout, *hold_ready;
    gchar *from, *duration, *with, *save;
    GStrv vm;
    GStrv operands; /* never NULL */
    GStrv command;  /* after "--"; NULL: none */
} CtlArgs;

typedef struct {
    CtlArgs args;
    SamiConfig *config; /* after ctl_load_config(); NULL: there is none */
    gboolean is_config_reported;
} Ctl;

typedef SamiExit (*CtlHandler)(Ctl *ctl, GError **error);

/* Entry point of main() and of tests. */
int ctl_main(int argc, char **argv);

/* --- handlers, one a verb --- */
SamiExit ctl_setup(Ctl *ctl, GError **error);
SamiExit ctl_keygen(Ctl *ctl, GError **error);
SamiExit ctl_peer_add(Ctl *ctl, GError **error);
SamiExit ctl_peer_list(Ctl *ctl, GError **error);
SamiExit ctl_peer_update(Ctl *ctl, GError **error);
SamiExit ctl_peer_export(Ctl *ctl, GError **error);
SamiExit ctl_peer_test(Ctl *ctl, GError **error);
SamiExit ctl_peer_remove(Ctl *ctl, GError **error);
SamiExit ctl_key_list(Ctl *ctl, GError **error);
SamiExit ctl_key_rotate(Ctl *ctl, GError **error);
SamiExit ctl_check(Ctl *ctl, GError **error);
SamiExit ctl_migrate(Ctl *ctl, GError **error);
SamiExit ctl_expect(Ctl *ctl, GError **error);
SamiExit ctl_freeze(Ctl *ctl, GError **error);
SamiExit ctl_wait(Ctl *ctl, GError **error);
SamiExit ctl_gate(Ctl *ctl, GError **error);
SamiExit ctl_abort(Ctl *ctl, GError **error);
SamiExit ctl_settle(Ctl *ctl, GError **error);
SamiExit ctl_thaw(Ctl *ctl, GError **error);
SamiExit ctl_resolve(Ctl *ctl, GError **error);
SamiExit ctl_status(Ctl *ctl, GError **error);
SamiExit ctl_show_policy(Ctl *ctl, GError **error);
SamiExit ctl_stats(Ctl *ctl, GError **error);
SamiExit ctl_show_peers(Ctl *ctl, GError **error);
SamiExit ctl_metrics(Ctl *ctl, GError **error);
SamiExit ctl_replicate(Ctl *ctl, GError **error);
SamiExit ctl_takeover(Ctl *ctl, GError **error);
SamiExit ctl_diff(Ctl *ctl, GError **error);
SamiExit ctl_resync(Ctl *ctl, GError **error);
SamiExit ctl_import_conntrackd(Ctl *ctl, GError **error);

/* --- other hosts --- */
/* The words that run a command at [USER@]HOST: ssh, or those of SAMI_SSH, `more` (nullable), and the host; what else is an argument of theirs is to follow.
 * SAMI_ERROR_USAGE, naming `option`, where ssh could take the host for something else. (transfer full) */
GStrv ctl_ssh(const gchar *host, const gchar *option, const gchar *const *more, gboolean has_terminal, GError **error);
#define CTL_SSH_FAILED 255 /* what ssh says of itself (ssh(1), EXIT STATUS); samictl has no such code */
void ctl_die_together(gpointer unused); /* set-up of a child: whoever ends samictl means ssh too */
/* samictl with these words, as one string for the shell there. (transfer full) */
gchar *ctl_quote(const gchar *const *words);
/* samictl with these words at args.host. Its exit code there; an error with FAILED where ssh, or the shell there, did not run it. */
SamiExit ctl_remote(const Ctl *ctl, const gchar *const *words, GError **error);

/* --- files --- */
const gchar *ctl_config_dir(const Ctl *ctl);
/* "DIR/a/b". (transfer full) */
gchar *ctl_path(const Ctl *ctl, const gchar *name) G_GNUC_WARN_UNUSED_RESULT;
/* Reads sami.conf. No such file is no error: config stays NULL. */
gboolean ctl_load_config(Ctl *ctl, GError **error);
/* Writes a public file (0644) as a whole or not at all. */
gboolean ctl_write(const gchar *path, const gchar *text, GError **error);

/* --- words --- */
/* The addresses that --vm names, by word or by vms.d; `verb` is for the message when there is none. (transfer full) */
JsonArray *ctl_vm(const Ctl *ctl, const gchar *verb, GError **error);
/* --mark, --zone and --vlan, the last also from vms.d, into a request. */
gboolean ctl_add_segment(const Ctl *ctl, JsonObject *request, GError **error);
/* The candidate nearest to `word`, or NULL if none is near. (transfer none) */
const gchar *ctl_suggest(const gchar *word, const gchar *const *candidates);
/* printf with control characters of the arguments made harmless; newlines stay. */
void ctl_say(FILE *stream, const gchar *format, ...) G_GNUC_PRINTF(2, 3);

/* --- calls --- */
typedef enum { CTL_EXPORTER, CTL_COLLECTOR, CTL_N_ROLES } CtlRole;
const gchar *ctl_role_name(CtlRole role);
/* -s, else ROLE.sock in run-dir. A broken file is reported once, and run-dir taken from sami.conf alone, or its default: the state of
 * daemons that run can be asked whatever became of the files. (transfer full) */
gchar *ctl_socket(Ctl *ctl, CtlRole role);
/* sami_control_call with the exit code 9 and the command to start the daemon in its message. */
JsonObject *ctl_call(const gchar *path, JsonObject *request, GError **error);
/* The daemons that run read their configuration again. ret_running, of CTL_N_ROLES: which of them do. SAMI_ERROR_CONFIG where one could not take it all. */
gboolean ctl_reload(Ctl *ctl, gboolean *ret_running, GError **error);
/* TRUE if the error says that no daemon listens; then its exit code is 9. */
gboolean ctl_is_not_running(const GError *error);

/* The same in a thread; both functions run in the main loop. `done` is called once, with an answer
 * or an error. */
typedef void (*CtlEventFunc)(JsonObject *event, gpointer user_data);
typedef void (*CtlDoneFunc)(JsonObject *answer, const GError *error, gpointer user_data);
void ctl_call_async(const gchar *path, JsonObject *request_take, CtlEventFunc event,
                    CtlDoneFunc done, gpointer user_data);

typedef struct {
    JsonObject *answers[CTL_N_ROLES]; /* NULL: that daemon does not run */
} CtlAnswers;
/* Asks each daemon that runs; an error if none does, or if one cannot be asked. With -s only that socket, as the first answer. */
gboolean ctl_ask_all(Ctl *ctl, const gchar *cmd, const gchar *id, CtlAnswers *ret, GError **error);
/* The same with a request of more than that. */
gboolean ctl_ask_all_with(Ctl *ctl, JsonObject *request, CtlAnswers *ret, GError **error);
void ctl_answers_clear(CtlAnswers *answers);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CtlAnswers, ctl_answers_clear)

/* --- output --- */
/* One line for a phase event, as in sami's day-one example. */
void ctl_print_phase(JsonObject *event);
/* A bar that redraws itself in its line, and its removal. */
void ctl_print_progress(JsonObject *event);
void ctl_clear_progress(void);
/* The last line of a migration: result, what was degraded or refused with consequence and remedy,
 * and what to run next. Returns its exit code. is_quiet leaves only errors. */
SamiExit ctl_print_result(JsonObject *answer, gboolean is_quiet);
/* What to do about a reason of refusal or degradation, and what it means for the connections; NULL if it has no row. (transfer none) */
const gchar *ctl_remedy(const gchar *reason, const gchar **ret_consequence);
/* A line for each replication of a daemon's answer to `status`; replicate.c. */
void ctl_print_replications(JsonObject *answer);
/* (transfer none) */
const gchar *ctl_string(JsonObject *object, const gchar *member);
gint64 ctl_int(JsonObject *object, const gchar *member);
/* (transfer none) (nullable) */
JsonObject *ctl_object(JsonObject *object, const gchar *member);
JsonArray *ctl_array(JsonObject *object, const gchar *member);
