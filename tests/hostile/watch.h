/* What a case changed: the counters of a daemon and the connection table of a firewall, before and after. Both hostile ends use it; what
 * cannot be read ends the program (die()). */
#pragma once

#include "firewall/firewall.h"

/* Ends the program with status 1; the text begins with the case that runs. */
void set_case(const gchar *name);
void die(const gchar *format, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;

typedef struct {
    const gchar *socket;        /* control socket of the daemon */
    gboolean (*is_wanted)(const gchar *counter);
    GHashTable *counters;       /* gchar * -> count, as a pointer; as read last */
    int own, other;             /* network namespaces */
    SamiFirewall *firewall;     /* in `other` */
    SamiFirewallEvents *events; /* says what is written there, also if it does not stay */
    GString *written;           /* what watch_read_events() read, a line each; "" for nothing */
} Watch;

/* `netns` is a file. */
void watch_open(Watch *watch, const gchar *socket, gboolean (*is_wanted)(const gchar *), const gchar *netns);
void watch_close(Watch *watch);
/* What differs from "`name` is `n` more than at the last call, all others are as then", for 5 s at most; NULL: nothing does. `name` NULL: none is more.
 * (nullable) (transfer full) */
gchar *watch_counters(Watch *watch, const gchar *name, guint n);
void watch_read_events(Watch *watch);
/* Every entry, but for its timeout, which runs. (transfer full) */
gchar *watch_read_table(const Watch *watch);
