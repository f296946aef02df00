/* Passes over the ledger: what happens to a migration's entries outside the stream of records. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>

#include "collector/apply-internal.h"

#define BATCH SAMI_APPLY_BATCH
/* nf_conntrack_proto_tcp.c: from FIN_WAIT on no state keeps an entry longer than 300 s; the state's own timeout is what a packet would
 * set, and 120 s is that of FIN_WAIT and TIME_WAIT. */
#define TCP_STATE_FIN_WAIT 4u
#define TCP_STATE_LISTEN 9u
#define CLOSING_MAX_S 300u
#define CLOSING_S 120u
#define ESTABLISHED_S 432000u /* the kernel's default, where its setting cannot be read */
#define DUMP_SHARE 4u   /* a dump pays from this share of the table on, as a fraction */
#define DUMP_WAIT_MS 2  /* for a part of it: other jobs wait */

void
sami_apply_set_lenient(SamiOp *op, SamiSession *session, guint8 original, guint8 reply)
{
    op->kind = SAMI_OP_UPDATE_FLAGS;
    session->has = SAMI_HAS_TCP;
    session->tcp_flags[0] = original;
    session->tcp_flags[1] = reply;
}

SamiFlowKey
sami_apply_kernel_key(const SamiLedgerEntry *entry)
{
    SamiFlowKey key = entry->key;
    if (entry->flags & SAMI_LEDGER_REVERSED)
        sami_flow_key_mirror(&entry->key, &key.orig);
    return key;
}

gboolean
sami_apply_for_each(SamiApply *apply, guint *at, SamiPickFunc pick, gpointer user_data, GError **error)
{
    g_autofree SamiOp *ops = g_new(SamiOp, BATCH);
    g_autofree SamiSession *sessions = g_new(SamiSession, BATCH);
    guint end = MIN(sami_ledger_size(apply->ledger), *at + SAMI_APPLY_SLICE);
    while (*at < end) {
        guint n = 0;
        for (; *at < end && n < BATCH; ++*at) {
            SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, *at);
            sessions[n] = (SamiSession){ .key = sami_apply_kernel_key(entry) };
            ops[n] = (SamiOp){ .session = &sessions[n] };
            n += !(entry->flags & SAMI_LEDGER_GONE) && pick(apply, entry, &ops[n], &sessions[n], user_data);
        }
        if (n > 0 && !sami_firewall_apply(apply->firewall, ops, n, error))
            return FALSE;
    }
    return TRUE;
}

gboolean
sami_apply_look_at_each(SamiApply *apply, guint *at, SamiWantFunc wants, SamiLookFunc look, gpointer user_data, GError **error)
{
    g_autofree SamiFlowKey *keys = g_new(SamiFlowKey, BATCH);
    g_autofree SamiSession *found = g_new(SamiSession, BATCH);
    g_autofree gboolean *is_found = g_new(gboolean, BATCH);
    g_autofree guint *positions = g_new(guint, BATCH);
    guint end = MIN(sami_ledger_size(apply->ledger), *at + SAMI_APPLY_SLICE);
    while (*at < end) {
        guint n = 0;
        for (; *at < end && n < BATCH; ++*at) {
            const SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, *at);
            if ((entry->flags & SAMI_LEDGER_GONE) || !wants(apply, entry))
                continue;
            keys[n] = sami_apply_kernel_key(entry);
            positions[n++] = *at;
        }
        if (!sami_apply_look_up(apply, keys, n, found, is_found, error))
            return FALSE;
        if (n > 0 && !look(apply, n, positions, found, is_found, user_data, error))
            return FALSE;
    }
    return TRUE;
}

static void
set_timeout(SamiOp *op, SamiSession *session, guint32 timeout_s)
{
    op->kind = SAMI_OP_UPDATE_TIMEOUT;
    session->has = SAMI_HAS_TIMEOUT;
    session->timeout_s = timeout_s;
}

static guint32
renewal_s(const SamiApply *apply, const SamiLedgerEntry *entry)
{
    return entry->key.protocol == IPPROTO_TCP ? apply->lease_s : MAX(entry->timeout_s, apply->lease_s);
}

/* Without a look at it first: that would more than double what a renewal costs (3 us an entry, and 4 to 5 the look), and before READY it is of all
 * entries, every third of a lease. So what has come under the addresses of one that ended here gets the lease's time, until a record, the
 * read-back or a rollback looks. */
static gboolean
pick_renewal(SamiApply *apply, SamiLedgerEntry *entry, SamiOp *op, SamiSession *session, gpointer user_data)
{
    set_timeout(op, session, renewal_s(apply, entry));
    return (entry->flags & SAMI_LEDGER_CREATED) != 0;
}

static gboolean
is_unaudited(const SamiApply *apply, const SamiLedgerEntry *entry)
{
    return (entry->flags & SAMI_LEDGER_CREATED) && !(entry->flags & SAMI_LEDGER_AUDITED);
}

/* After READY traffic may own an entry, so it is looked at first (LIFECYCLE §6). A TimeFunc's 0 leaves it alone. */
typedef guint32 (*TimeFunc)(const SamiApply *apply, const SamiLedgerEntry *entry, const SamiSession *found);

static gboolean
prolong_untouched(SamiApply *apply, guint n, const guint *positions, const SamiSession *found, const gboolean *is_found, gpointer user_data,
                  GError **error)
{
    const TimeFunc *get_time = user_data;
    g_autofree SamiOp *ops = g_new(SamiOp, n);
    g_autofree SamiSession *sessions = g_new(SamiSession, n);
    guint n_ops = 0;
    for (guint i = 0; i < n; i++) {
        gboolean is_leased = apply->lease_s == 0 || found[i].timeout_s <= apply->lease_s;
        gboolean is_ours = is_found[i] && !sami_apply_is_touched(&found[i]) && is_leased &&
                           sami_apply_is_ours(apply, sami_ledger_at(apply->ledger, positions[i]), &found[i]);
        guint32 timeout_s = is_ours ? (*get_time)(apply, sami_ledger_at(apply->ledger, positions[i]), &found[i]) : 0;
        if (timeout_s == 0)
            continue;
        sessions[n_ops] = (SamiSession){ .key = found[i].key };
        ops[n_ops] = (SamiOp){ .session = &sessions[n_ops] };
        set_timeout(&ops[n_ops], &sessions[n_ops], timeout_s);
        if (apply->lease_s == 0 && (sami_ledger_at(apply->ledger, positions[i])->flags & SAMI_LEDGER_FIXED)) {
            ops[n_ops].kind = SAMI_OP_UPDATE_FIXED;
            sessions[n_ops].has |= SAMI_HAS_STATUS;
            sessions[n_ops].status = found[i].status | SAMI_IPS_FIXED_TIMEOUT;
        }
        n_ops++;
    }
    return n_ops == 0 || sami_firewall_apply(apply->firewall, ops, n_ops, error);
}

static guint32
get_renewal(const SamiApply *apply, const SamiLedgerEntry *entry, const SamiSession *found)
{
    return renewal_s(apply, entry);
}

gboolean
sami_apply_renew(SamiApply *apply, guint *at, GError **error)
{
    TimeFunc get_time = get_renewal;
    return apply->is_ready ? sami_apply_look_at_each(apply, at, is_unaudited, prolong_untouched, &get_time, error)
                           : sami_apply_for_each(apply, at, pick_renewal, NULL, error);
}

/* A record's timeout and a packet's state can cross: there is no compare-and-set (LIFECYCLE §6). A flow that is closing with the timeout of
 * an open one would stay for days. */
static gboolean
needs_repair(const SamiSession *found)
{
    return found->key.protocol == IPPROTO_TCP && (found->has & SAMI_HAS_TCP) && found->tcp_state >= TCP_STATE_FIN_WAIT &&
           found->tcp_state < TCP_STATE_LISTEN && (found->has & SAMI_HAS_TIMEOUT) && found->timeout_s > CLOSING_MAX_S;
}

/* Of what was known to be less than it was at the source. */
static SamiReason
find_lost(const SamiLedgerEntry *entry, const SamiSession *found)
{
    static const struct {
        guint32 flag;
        SamiReason reason;
    } lost[] = {
        { SAMI_LEDGER_NO_HELPER, SAMI_REASON_NO_HELPER },
        { SAMI_LEDGER_GRE_KEYMAP, SAMI_REASON_GRE_KEYMAP },
        { SAMI_LEDGER_GRE, SAMI_REASON_GRE_TIMEOUT },
        { SAMI_LEDGER_OFFLOADED, SAMI_REASON_OFFLOADED },
        { SAMI_LEDGER_NO_MASTER, SAMI_REASON_NO_MASTER },
        { SAMI_LEDGER_MARK_CUT, SAMI_REASON_MARK_CUT },
        { SAMI_LEDGER_TIME_CUT, SAMI_REASON_TIMEOUT_CUT },
        { SAMI_LEDGER_LABELS_CUT, SAMI_REASON_LABELS_CUT },
    };
    for (guint i = 0; i < G_N_ELEMENTS(lost); i++)
        if (entry->flags & lost[i].flag)
            return lost[i].reason;
    if ((entry->flags & SAMI_LEDGER_LABELS) && !(found->has & SAMI_HAS_LABELS))
        return SAMI_REASON_LABELS_LOST;
    if ((entry->flags & SAMI_LEDGER_NAT) && !(found->status & (SAMI_IPS_SRC_NAT | SAMI_IPS_DST_NAT)))
        return SAMI_REASON_NO_NAT_HOOK;
    if ((entry->flags & SAMI_LEDGER_FIXED) && !(found->status & SAMI_IPS_FIXED_TIMEOUT))
        return SAMI_REASON_TIMEOUT_CLAMPED;
    return SAMI_REASON_NONE;
}

/* Is something else than what was written? Packets may have gone on from there. */
static gboolean
has_changed(const SamiLedgerEntry *entry, const SamiSession *found)
{
    gboolean is_touched = sami_apply_is_touched(found) || !(found->has & SAMI_HAS_COUNTERS);
    gboolean is_comparable = !(entry->flags & SAMI_LEDGER_REVERSED) && !(is_touched && (entry->flags & SAMI_LEDGER_MOVING));
    return (is_comparable && sami_ledger_digest(found) != entry->digest) || (sami_apply_grown(entry) & ~found->status) ||
           (!is_touched && found->tcp_state != entry->tcp_state);
}

/* What the kernel has now against what was written. */
static void
verify(SamiApply *apply, SamiLedgerEntry *entry, const SamiSession *found, gboolean is_found)
{
    if (!is_found) {
        if (entry->timeout_s > SAMI_EXPIRING_S)
            sami_apply_degrade(apply, SAMI_REASON_UNVERIFIED, &entry->key);
        sami_apply_let_go(apply, entry);
        return;
    }
    if (found->has & SAMI_HAS_START) {
        if (!sami_ledger_proves(apply->ledger, entry, found->flow_id, found->start_ns)) { /* it ended, and traffic made another */
            sami_apply_degrade(apply, SAMI_REASON_UNVERIFIED, &entry->key);
            sami_apply_let_go(apply, entry);
            return;
        }
        entry->flow_id = found->flow_id;
        entry->start_ns = found->start_ns;
        entry->flags |= SAMI_LEDGER_VERIFIED;
    }
    SamiReason reason = find_lost(entry, found);
    if (reason == SAMI_REASON_NONE && has_changed(entry, found))
        reason = SAMI_REASON_DIFFERS;
    if (reason != SAMI_REASON_NONE)
        sami_apply_degrade(apply, reason, &entry->key);
    else
        apply->n_exact++;
}

/* What a packet would give the flow. */
static guint32
established_s(void)
{
    g_autofree gchar *text = NULL;
    gint64 seconds = 0;
    if (g_file_get_contents("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established", &text, NULL, NULL))
        seconds = g_ascii_strtoll(text, NULL, 10);
    return seconds > 0 ? (guint32) MIN(seconds, (gint64) G_MAXINT32) : ESTABLISHED_S;
}

/* In doubt after a restart: an open flow that no packet has touched has what is left of the lease and nobody who renews it, so it would end while
 * somebody still has to decide. */
static gboolean
needs_time(const SamiApply *apply, const SamiLedgerEntry *entry, const SamiSession *found)
{
    return found->key.protocol == IPPROTO_TCP && (found->has & SAMI_HAS_TCP) && found->tcp_state == SAMI_TCP_STATE_ESTABLISHED &&
           !sami_apply_is_touched(found) && (found->has & SAMI_HAS_TIMEOUT) && found->timeout_s <= apply->lease_s &&
           sami_ledger_proves(apply->ledger, entry, found->flow_id, found->start_ns);
}

static gboolean
look_back(SamiApply *apply, guint n, const guint *positions, const SamiSession *found, const gboolean *is_found, gpointer user_data,
          GError **error)
{
    g_autofree SamiOp *ops = g_new(SamiOp, n);
    g_autofree SamiSession *sessions = g_new(SamiSession, n);
    guint n_ops = 0;
    for (guint i = 0; i < n; i++) {
        SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, positions[i]);
        entry->flags |= SAMI_LEDGER_READ;
        /* After a restart the records are not known any more, only whose the entry is. */
        if (entry->digest)
            verify(apply, entry, &found[i], is_found[i]);
        gboolean is_short = is_found[i] && !entry->digest && needs_time(apply, entry, &found[i]);
        if (!is_found[i] || (entry->flags & SAMI_LEDGER_GONE) || (!is_short && !needs_repair(&found[i])))
            continue;
        sessions[n_ops] = (SamiSession){ .key = found[i].key };
        ops[n_ops] = (SamiOp){ .session = &sessions[n_ops] };
        set_timeout(&ops[n_ops], &sessions[n_ops], is_short ? established_s() : CLOSING_S);
        apply->n_repaired += !is_short;
        n_ops++;
    }
    return n_ops == 0 || sami_firewall_apply(apply->firewall, ops, n_ops, error);
}

/* No audit has named it, and none may come: it has the lease's time, which nobody renews any more, or without a lease that of an earlier record. */
static gboolean
is_untimed(const SamiApply *apply, const SamiLedgerEntry *entry)
{
    return is_unaudited(apply, entry) && (apply->lease_s == 0 || entry->key.protocol == IPPROTO_TCP) && entry->timeout_s > 0;
}

/* The time that its last record said, as long as its state is still that record's. */
static guint32
get_own_time(const SamiApply *apply, const SamiLedgerEntry *entry, const SamiSession *found)
{
    return found->tcp_state == entry->tcp_state ? entry->timeout_s : 0;
}

static gboolean
is_created(const SamiApply *apply, const SamiLedgerEntry *entry)
{
    return (entry->flags & SAMI_LEDGER_CREATED) != 0;
}

static gboolean
is_unread(const SamiApply *apply, const SamiLedgerEntry *entry)
{
    return is_created(apply, entry) && !(entry->flags & SAMI_LEDGER_READ);
}

void
sami_read_back_clear(SamiReadBack *reading)
{
    g_clear_pointer(&reading->dump, sami_firewall_dump_free);
}

typedef struct {
    SamiApply *apply;
    guint n;
} Part;

/* What the dump does not settle is left for a look-up: what it does not show, what gets a timeout first, and what is to be repaired - a dump
 * may be older than the last packet. */
static void
on_dumped(const SamiSession *found, gpointer user_data)
{
    Part *part = user_data;
    SamiApply *apply = part->apply;
    SamiLedgerEntry *entry = sami_ledger_find(apply->ledger, &found->key);
    part->n++;
    if (!entry || !is_unread(apply, entry) || is_untimed(apply, entry) || needs_repair(found) ||
        !(entry->digest || entry->timeout_s))
        return;
    entry->flags |= SAMI_LEDGER_READ;
    verify(apply, entry, found, TRUE);
}

/* None where the ledger is small, or most of the table is not ours. */
static gboolean
start_dump(SamiApply *apply, SamiReadBack *reading, GError **error)
{
    const SamiDumpFilter everything = { 0 };
    guint64 n_entries = 0, max = 0;
    reading->has_dumped = TRUE;
    for (guint i = 0; i < sami_ledger_size(apply->ledger); i++)
        sami_ledger_at(apply->ledger, i)->flags &= ~SAMI_LEDGER_READ;
    if (apply->n_held < BATCH || !sami_firewall_headroom(apply->firewall, &n_entries, &max, NULL) || apply->n_held < n_entries / DUMP_SHARE)
        return TRUE;
    reading->dump = sami_firewall_dump_new(apply->firewall, &everything, error);
    reading->has_dumped = FALSE;
    return reading->dump != NULL;
}

static gboolean
read_dump(SamiApply *apply, SamiReadBack *reading, GError **error)
{
    Part part = { apply, 0 };
    struct pollfd ready = { .fd = sami_firewall_dump_fd(reading->dump), .events = POLLIN };
    SamiDumpStatus status = SAMI_DUMP_MORE;
    if (poll(&ready, 1, DUMP_WAIT_MS) < 0 && errno != EINTR) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "conntrack dump: %s", g_strerror(errno));
        return FALSE;
    }
    for (guint before = G_MAXUINT; status == SAMI_DUMP_MORE && part.n < SAMI_APPLY_SLICE && part.n != before;) {
        before = part.n;
        status = sami_firewall_dump_next(reading->dump, on_dumped, &part, error);
    }
    if (status == SAMI_DUMP_BAD)
        return FALSE;
    if (status == SAMI_DUMP_END) {
        sami_read_back_clear(reading);
        reading->has_dumped = TRUE;
    }
    return TRUE;
}

static gboolean
read_slice(SamiApply *apply, guint *at, SamiReadBack *reading, GError **error)
{
    guint from = *at;
    TimeFunc get_time = get_own_time;
    if (!reading->dump && !reading->has_dumped) {
        apply->n_exact = 0; /* not the first one after a thaw */
        if (!start_dump(apply, reading, error))
            return FALSE;
    }
    if (!reading->has_dumped)
        return read_dump(apply, reading, error);
    return sami_apply_look_at_each(apply, &from, is_untimed, prolong_untouched, &get_time, error) &&
           sami_apply_look_at_each(apply, at, is_unread, look_back, NULL, error);
}

/* What is not listed is confirmed (PROTOCOL §4), and a source may remove it: so all that was not read is. */
static void
give_up_reading(SamiApply *apply)
{
    for (guint i = 0; i < sami_ledger_size(apply->ledger); i++) {
        const SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, i);
        if (is_unread(apply, entry) && entry->digest)
            sami_apply_degrade(apply, SAMI_REASON_UNVERIFIED, &entry->key);
    }
}

gboolean
sami_apply_read_back(SamiApply *apply, guint *at, SamiReadBack *reading, GError **error)
{
    if (read_slice(apply, at, reading, error))
        return TRUE;
    give_up_reading(apply);
    return FALSE;
}

/* A lenient entry learns no windows from packets that are out of them (nf_conntrack_proto_tcp.c, tcp_in_window). If both ends retransmit
 * after the switch, each direction acknowledges data that this firewall has not seen, for ever: made strict, the flow dies. Seen in 1 of
 * 3 transfers with data both ways. It cannot happen when one direction carries bare acknowledgements only, or before the first packet. */
static gboolean
is_safe_to_tighten(const SamiSession *found, gboolean is_last)
{
    guint64 bare = found->key.family == 4 ? 52 : 72; /* headers with the timestamp option */
    if (!(found->has & SAMI_HAS_COUNTERS))
        return FALSE;
    if (!sami_apply_is_touched(found))
        return is_last;
    for (guint d = 0; d < 2; d++)
        if (found->packets[0] && found->packets[1] && found->octets[d] <= found->packets[d] * bare)
            return TRUE;
    return FALSE;
}

/* A merged entry may be what an earlier move of the same VM left here: its windows are of that time, and a lenient entry learns no others
 * (above), so made strict it would stop the flow. Nothing in it tells it from one that has followed all along, so both stay lenient. */
static gboolean
is_lenient(const SamiApply *apply, const SamiLedgerEntry *entry)
{
    return (entry->flags & SAMI_LEDGER_LENIENT) && !(entry->flags & (SAMI_LEDGER_SRC_LENIENT | SAMI_LEDGER_MERGED));
}

typedef struct {
    gboolean is_last;
    guint64 *n_left;
} Tightening;

static gboolean
tighten(SamiApply *apply, guint n, const guint *positions, const SamiSession *found, const gboolean *is_found, gpointer user_data,
        GError **error)
{
    const Tightening *tightening = user_data;
    g_autofree SamiOp *ops = g_new(SamiOp, n);
    g_autofree SamiSession *sessions = g_new(SamiSession, n);
    guint n_ops = 0;
    for (guint i = 0; i < n; i++) {
        SamiLedgerEntry *entry = sami_ledger_at(apply->ledger, positions[i]);
        gboolean is_there = is_found[i] && sami_apply_is_ours(apply, entry, &found[i]);
        if (is_there && !is_safe_to_tighten(&found[i], tightening->is_last)) {
            ++*tightening->n_left;
            continue;
        }
        entry->flags &= ~SAMI_LEDGER_LENIENT;
        if (!is_there)
            continue;
        sessions[n_ops] = (SamiSession){ .key = found[i].key };
        ops[n_ops] = (SamiOp){ .session = &sessions[n_ops] };
        sami_apply_set_lenient(&ops[n_ops], &sessions[n_ops], 0, 0);
        n_ops++;
    }
    if (n_ops == 0 || sami_firewall_apply(apply->firewall, ops, n_ops, error))
        return TRUE;
    for (guint i = 0; i < n; i++) /* for the next try */
        sami_ledger_at(apply->ledger, positions[i])->flags |= SAMI_LEDGER_LENIENT;
    return FALSE;
}

gboolean
sami_apply_strict(SamiApply *apply, guint *at, gboolean is_last, guint64 *n_left, GError **error)
{
    Tightening tightening = { is_last, n_left };
    return sami_apply_look_at_each(apply, at, is_lenient, tighten, &tightening, error);
}
