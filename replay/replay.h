/* sami-replay: a table of verbs over recorded Messages.
 *
 * A handler prints what was asked for on standard output and returns an exit code. If it sets an error, that is printed with `sami-replay: ` on
 * standard error and decides the exit code. What is wrong in an input is no error of ours: it is reported where it stands, reading goes on, and
 * the exit code is REPLAY_EXIT_BROKEN at the end. */
#pragma once

#include <stdio.h>

#include "common/config.h"
#include "common/control.h"
#include "transport/input.h"

#define REPLAY_EXIT_BROKEN SAMI_EXIT_REFUSED /* 3: the input breaks a rule, or something of it was refused */
#define REPLAY_EXIT_DIFFERS SAMI_EXIT_WARNINGS /* 20: of diff */

/* What the command line said; one struct for all verbs. NULL and FALSE where nothing was given. */
typedef struct {
    gboolean is_help, is_version, is_quiet, is_json;
    gchar *config;    /* -c */
    GStrv keys;       /* --key */
    gchar *key_log;   /* --key-log */
    GStrv capture_ports;
    /* filters */
    GStrv addresses, ports, protocols, vlans, kinds;
    gchar *migration, *since, *until;
    /* dump, diff */
    gboolean is_following, is_wide, is_unsigned_fine;
    gchar *count;
    gboolean is_live;
    /* inject, record */
    gboolean is_dry, is_forcing, is_keeping_times;
    gchar *on_conflict, *output, *zone, *mark;
    GStrv vms;
    /* send */
    gchar *to, *udp, *tcp, *speed, *mtu, *template_refresh;
    gboolean is_signing_unsigned;
    GStrv operands; /* never NULL */
} ReplayArgs;

typedef struct {
    ReplayArgs args;
    SamiConfig *config; /* after replay_load_config(); NULL: there is none */
} Replay;

typedef SamiExit (*ReplayHandler)(Replay *replay, GError **error);

/* Entry point of main() and of tests. */
int replay_main(int argc, char **argv);

/* --- handlers, one a verb --- */
SamiExit replay_dump(Replay *replay, GError **error);
SamiExit replay_validate(Replay *replay, GError **error);
SamiExit replay_stats(Replay *replay, GError **error);
SamiExit replay_diff(Replay *replay, GError **error);
SamiExit replay_inject(Replay *replay, GError **error);
SamiExit replay_record(Replay *replay, GError **error);
SamiExit replay_send(Replay *replay, GError **error);

/* --- for handlers --- */
/* Reads sami.conf (-c). No such file is no error unless -c named it: config stays NULL. */
gboolean replay_load_config(Replay *replay, GError **error);
/* Opens an operand with the options of the command line. */
SamiInput *replay_open(const Replay *replay, const gchar *path, GError **error);

/* A bar on standard error, when that is a terminal, the input's size is known and --quiet was not given: call it after each Message, it looks at
 * the clock itself. */
typedef struct {
    const SamiInput *input;
    const gchar *path;
    gint64 next_us;
    gboolean is_shown, is_wanted;
    guint n_calls;
} ReplayProgress;
void replay_progress_begin(ReplayProgress *progress, const Replay *replay, const SamiInput *input, const gchar *path);
void replay_progress(ReplayProgress *progress);
/* Out of the way of what is printed next. */
void replay_progress_hide(ReplayProgress *progress);
void replay_progress_end(ReplayProgress *progress);
/* printf to `stream` with control characters of the arguments made harmless, the bar out of the way first; newlines of the format stay. */
void replay_say(FILE *stream, ReplayProgress *progress, const gchar *format, ...) G_GNUC_PRINTF(3, 4);
