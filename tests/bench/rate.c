/* bench-rate: new flows at a steady rate in one namespace, and how long each takes to be in the table of another. Knows nothing of who
 * carries them there: both times are those of the kernels' own events.
 *
 *   bench-rate NETNS-FROM NETNS-TO RATE SECONDS
 *
 * Prints: created arrived seconds p50_ms p99_ms max_ms */
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_compat.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/tools/kernel-table.h"

#define STEP_S 0.01    /* between two batches */
#define PATIENCE_S 5.0 /* for the last ones */

typedef struct {
    struct mnl_socket *sockets[2]; /* from, to */
    GHashTable *created;           /* tuple's octets -> time */
    GArray *delays;                /* of double, ms */
    guint n_created;
    gint is_over;
} Watch;

static struct mnl_socket *
listen_in(const gchar *netns)
{
    int size = 64 * 1024 * 1024;
    table_enter(netns);
    struct mnl_socket *nl = mnl_socket_open(NETLINK_NETFILTER);
    if (!nl || mnl_socket_bind(nl, NF_NETLINK_CONNTRACK_NEW, MNL_SOCKET_AUTOPID) < 0) {
        g_printerr("bench-rate: events of %s: %s\n", netns, g_strerror(errno));
        exit(1);
    }
    setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    return nl;
}

static void
note(Watch *watch, guint side, const struct nlmsghdr *nlh, double now)
{
    const struct nlattr *attr;
    mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) != CTA_TUPLE_ORIG)
            continue;
        g_autoptr(GBytes) tuple = g_bytes_new(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
        double *created = g_hash_table_lookup(watch->created, tuple);
        if (side == 0 && !created) {
            g_hash_table_insert(watch->created, g_bytes_ref(tuple), g_memdup2(&now, sizeof now));
            watch->n_created++;
        } else if (side == 1 && created) {
            double delay = (now - *created) * 1000;
            g_array_append_val(watch->delays, delay);
        }
        return;
    }
}

/* The source's events first: a flow that has arrived was created before. */
static gpointer
watch_both(gpointer user_data)
{
    Watch *watch = user_data;
    guint8 buffer[65536];
    double last = table_now();
    while (!g_atomic_int_get(&watch->is_over) ||
           (watch->delays->len < watch->n_created && table_now() - last < PATIENCE_S)) {
        struct pollfd fds[2] = { { mnl_socket_get_fd(watch->sockets[0]), POLLIN, 0 }, { mnl_socket_get_fd(watch->sockets[1]), POLLIN, 0 } };
        poll(fds, 2, 100);
        for (guint side = 0; side < 2; side++) {
            ssize_t n;
            while ((n = recv(fds[side].fd, buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
                int left = (int) n;
                last = table_now();
                for (const struct nlmsghdr *nlh = (struct nlmsghdr *) (void *) buffer; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
                    note(watch, side, nlh, last);
                if (side == 1)
                    break; /* look at the source again */
            }
        }
    }
    return NULL;
}

static gint
compare_delays(gconstpointer a, gconstpointer b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

static double
percentile(const GArray *delays, guint percent)
{
    return delays->len ? g_array_index(delays, double, MIN(delays->len - 1, delays->len * percent / 100)) : -1;
}

int
main(int argc, char **argv)
{
    Watch watch = { .is_over = 0 };
    if (argc != 5)
        return g_printerr("usage: bench-rate NETNS-FROM NETNS-TO RATE SECONDS\n"), 2;
    guint rate = (guint) atoi(argv[3]), n_steps = (guint) (atoi(argv[4]) / STEP_S), from = 0;
    watch.created = g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify) g_bytes_unref, g_free);
    watch.delays = g_array_new(FALSE, FALSE, sizeof(double));
    watch.sockets[1] = listen_in(argv[2]);
    watch.sockets[0] = listen_in(argv[1]);
    GThread *thread = g_thread_new("watch", watch_both, &watch);
    double start = table_now();
    for (guint step = 0; step < n_steps; step++) {
        TableFill fill = { .n = (guint) (rate * STEP_S), .from = from, .family = 4, .kind = TABLE_TCP };
        TableBatches *batches = table_build(&fill);
        double seconds;
        int failure;
        if (table_inject(batches, &seconds, &failure) > 0)
            return g_printerr("bench-rate: %s\n", g_strerror(failure)), 1;
        table_batches_free(batches);
        from += fill.n;
        double left = start + (step + 1) * STEP_S - table_now();
        if (left > 0)
            g_usleep((gulong) (left * 1e6));
    }
    double took = table_now() - start;
    g_atomic_int_set(&watch.is_over, 1);
    g_thread_join(thread);
    g_array_sort(watch.delays, compare_delays);
    g_print("%u %u %.3f %.3f %.3f %.3f\n", watch.n_created, watch.delays->len, took, percentile(watch.delays, 50), percentile(watch.delays, 99),
            percentile(watch.delays, 100));
    return 0;
}
