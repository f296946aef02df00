/* A connection table filled, counted, dumped and emptied by bare netlink: for tests and benchmarks.
 *
 * Knows nothing of firewall/, so that a mistake there cannot hide itself. All calls act in the network namespace that the
 * thread is in; errors of the system end the program with a message, since a test has nothing else to do. */
#pragma once

#include <glib.h>
#include <libmnl/libmnl.h>

/* Makes the thread a member of the namespace (`ip netns` name). */
void table_enter(const gchar *netns);
/* CLOCK_MONOTONIC, seconds. */
double table_now(void);

typedef enum {
    TABLE_TCP,   /* established IPv4 or IPv6 TCP that the VM opened, nothing translated */
    TABLE_NAT,   /* the same behind SNAT and DNAT, in turns */
    TABLE_MIXED, /* TCP both ways, UDP, SNAT, DNAT, IPv6, with and without mark, labels and window scale */
} TableKind;

typedef struct {
    guint n;
    guint from;         /* number of the first session: other numbers are other flows */
    guint8 family;      /* 4 or 6; TABLE_MIXED has both */
    TableKind kind;
    const gchar *vm4;   /* NULL: 10.0.0.13 */
    const gchar *vm6;   /* NULL: 2001:db8:a::13 */
    guint modulo;       /* not 0: numbers begin anew after so many, so that a flow comes more than once */
    guint32 mark;       /* not 0: flows that are there get this mark, the next one the mark after it, and nothing else */
} TableFill;

/* Messages in batches that are ready to be sent. */
typedef struct TableBatches TableBatches;
TableBatches *table_build(const TableFill *fill);
void table_batches_free(TableBatches *batches);
/* Sends them, without acknowledgements. Returns the number that the kernel refused; *ret_seconds is the time from the first
 * to the last. The first refusal is described in *ret_errno. */
guint table_inject(const TableBatches *batches, double *ret_seconds, int *ret_errno);

/* Entries of this namespace. */
guint table_count(void);
void table_flush(void);

/* One whole dump, IPv4 and IPv6. `func` (nullable) gets every entry and when its part was received. Returns the number. */
typedef void (*TableFunc)(const struct nlmsghdr *nlh, double received, gpointer user_data);
guint table_dump(TableFunc func, gpointer user_data);
