/* conntrackd.conf, read for what a replication has for it (conntrackd.conf(5) of conntrack-tools 1.4.7, and the older words that its lexer
 * still takes). Pure: text in, keys and notes out. */
#pragma once

#include "common/error.h"

/* What becomes of an option. */
typedef enum {
    CTL_FATE_KEY,      /* the keys say it */
    CTL_FATE_NEEDLESS, /* nothing has to say it */
    CTL_FATE_LOST,     /* it is not carried over */
    CTL_N_FATES
} CtlFate;

typedef struct {
    guint line;
    CtlFate fate;
    gchar *option;    /* as it stands there, with its value; printable ASCII */
    const gchar *why; /* (transfer none) static */
} CtlNote;

typedef struct {
    gboolean is_sync;     /* there is a Sync section: a replication */
    GPtrArray *notes;     /* of CtlNote, in the order of the file */
    guint n_lost;         /* of them are CTL_FATE_LOST */
    GPtrArray *own;       /* of gchar *: endpoints of this firewall on its links, the default one first; may be empty */
    GPtrArray *peer;      /* the same of the other one */
    gchar *protocols;     /* values of replicate-*; each NULL: no such key */
    gchar *addresses;
    gchar *ignore;
    gchar *states;
} CtlConntrackd;

/* SAMI_ERROR_CONFIG with "NAME:LINE: " for what conntrackd would not understand either: an unknown option, a wrong value, a brace too many. */
CtlConntrackd *ctl_conntrackd_parse(const gchar *name, const gchar *text, gsize length, GError **error);
void ctl_conntrackd_free(CtlConntrackd *conf);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CtlConntrackd, ctl_conntrackd_free)
/* The lines of peers.d that are to be there, "key=value\n" each. (transfer full) */
gchar *ctl_conntrackd_keys(const CtlConntrackd *conf);
/* All of it as a file of peers.d: the keys, then a comment for each option, and what to do by hand. (transfer full) */
gchar *ctl_conntrackd_print(const CtlConntrackd *conf, const gchar *peer);
/* Every option of conntrackd.conf and what becomes of it, as the roff (man) of a table in sami-conntrackd(7). (transfer full) */
gchar *ctl_conntrackd_table(void);
