/* fill-table: entries into this namespace's connection table until the kernel has no room for one more. Assured and established, so that
 * the kernel does not drop them early (nf_conntrack_core.c, early_drop). Prints how many. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firewall/firewall.h"

#define BATCH 1024u

int
main(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiFirewall) firewall = sami_firewall_linux_new(&error);
    static SamiSession sessions[BATCH];
    static SamiOp ops[BATCH];
    guint64 entries = 0, limit = 0, n_made = 0;
    guint n_full = 0;
    if (!firewall || !sami_firewall_headroom(firewall, &entries, &limit, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return EXIT_FAILURE;
    }
    for (guint64 next = 0; n_full == 0 && next < 2 * limit; next += BATCH) {
        for (guint i = 0; i < BATCH; i++) {
            guint64 number = next + i;
            SamiSession *s = &sessions[i];
            *s = (SamiSession){ .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_TCP | SAMI_HAS_REPLY, .action = SAMI_ACTION_CREATED,
                                .status = SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED | SAMI_IPS_CONFIRMED, .timeout_s = 600,
                                .tcp_state = SAMI_TCP_STATE_ESTABLISHED };
            s->key.family = 4;
            s->key.protocol = IPPROTO_TCP;
            memcpy(s->key.orig.src.octets, (guint8[]){ 100, 64, (guint8) (number >> 24), (guint8) (number >> 16) }, 4);
            memcpy(s->key.orig.dst.octets, (guint8[]){ 203, 0, 113, 1 }, 4);
            s->key.orig.src_port = (guint16) number;
            s->key.orig.dst_port = 443;
            sami_flow_key_mirror(&s->key, &s->reply);
            ops[i] = (SamiOp){ .kind = SAMI_OP_CREATE, .session = s };
        }
        if (!sami_firewall_apply(firewall, ops, BATCH, &error)) {
            fprintf(stderr, "%s\n", error->message);
            return EXIT_FAILURE;
        }
        for (guint i = 0; i < BATCH; i++) {
            n_made += ops[i].result == 0;
            n_full += ops[i].result == ENOMEM;
        }
    }
    if (n_full == 0) {
        fprintf(stderr, "%" G_GUINT64_FORMAT " entries were made, and the table of %" G_GUINT64_FORMAT " is not full\n", n_made, limit);
        return EXIT_FAILURE;
    }
    printf("%" G_GUINT64_FORMAT "\n", n_made);
    return EXIT_SUCCESS;
}
