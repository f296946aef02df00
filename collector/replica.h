/* What one replication does to the kernel (LIFECYCLE §11): the standby's table in step with the peer's, as long as it is the standby.
 *
 * One owner a flow, and packets decide: an entry is the peer's until a packet has touched it here, or a takeover has made all of them
 * ours; then no record of the peer changes or removes it any more. Nothing is rolled back. What is here already, and is ours, is left as
 * it is; only a firewall that has yielded (it became the backup) replaces what is older than that by what the peer says.
 *
 * Belongs to the injecting thread, as the rest of SamiApply. */
#pragma once

#include "collector/injector.h"
#include "firewall/origin.h"

struct SamiReplica {
    SamiOrigin *origin;  /* (transfer none) */
    gboolean is_over;    /* taken over: its entries are ours, and it says nothing about them any more */
    gboolean is_peer;    /* it is one of the next: who replicates the flows of one VM does not speak for the rest */
    guint n_peers;       /* that may replicate to here (main loop): when each has been through an epoch, it is known what is left from
                            before this daemon was started */
    guint64 n_inherited; /* entries that were, and that no peer named any more */
    guint64 n_created, n_updated, n_renewed, n_deleted;
    guint64 n_replaced;  /* entries of ours, older than a yield */
    guint64 n_kept;      /* records of a flow that is here and ours */
    guint64 n_passed;    /* entries that packets made ours */
    guint64 n_expired;   /* of an epoch: not named by it */
    guint64 n_epochs;
    GArray *leaving[2];  /* of SamiFlowKey: removed here, in the last and in this interval between two signs of life. Their keys stay that long
                            with the peer's, or the exporter would take their destroy events for the end of flows of ours */
    struct SamiReplicaRun *run;
};

/* An apply for a replication of this signer; `all` NULL: its entries count only for the signer. (transfer full) */
SamiApply *sami_replica_new(guint32 lease_s, SamiOrigin *origin, SamiBudget *all, SamiBudget *signer);
void sami_replica_free(SamiReplica *replica); /* NULL is fine; done by sami_apply_free() */
/* TRUE: the job was one that a replication does in its own way. */
gboolean sami_replica_run(SamiApply *apply, SamiJob *job);
