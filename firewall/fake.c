/* A table in memory that answers as nf_conntrack_netlink.c of Linux 6.18 does where LIFECYCLE
 * relies on it. Timeouts run on a clock that only sami_firewall_fake_age() moves; start times are
 * real, since callers compare them with their own clock. */
#include "firewall/fake.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "firewall/ops.h"

#define PART_ENTRIES_MAX 135u /* what the kernel gives in its 32 kB */
#define TCP_WSCALE_MAX 14u
#define STATUS_NAT_DONE 0x180u
#define EXPECT_TIMEOUT_S 300u /* ftp_exp_policy; ftp expects one flow of a master, others are given eight */
#define EXPECT_OTHERS_MAX 8u
/* ctnetlink clamps to INT_MAX jiffies at 250 a second (measured 8,589,934 s). */
#define TIMEOUT_MAX_S 8589934u

typedef struct {
    SamiSession session; /* timeout_s is not used: see expires_s */
    SamiFlowKey reply_key;
    guint64 expires_s;
    GList link;
} Entry;

typedef struct {
    SamiExpectation expectation; /* master: as the entry's own key; timeout_s is not used */
    guint64 expires_s;
} Expected;

typedef struct {
    guint n_refs;
    guint capacity;
    guint part_entries;
    guint32 n_ports;
    guint64 now_s;
    GHashTable
        *tuples; /* SamiFlowKey of either direction -> Entry, both in one table as in the kernel */
    GQueue entries;   /* of Entry, through its link, in order of creation */
    GList *dumps;     /* of FakeDump */
    GList *listeners; /* of FakeEvents */
    GArray *expected; /* of Expected, the oldest first */
    int answer;       /* of the next creation; 0: what it comes to */
    guint n_good, n_failures; /* requests that the socket still takes, and then fails at */
} Table;

typedef struct {
    SamiFirewall base;
    Table *table;
    guint32 port;
} Fake;

typedef struct {
    SamiFirewallDump base;
    Table *table;
    SamiDumpFilter filter;
    GList *next; /* link of the next Entry; moved on when that entry goes */
    SamiSession part[PART_ENTRIES_MAX]; /* filled one ahead, as netlink_dump() does: it can be older than events already read */
    guint n_part;
    int fd;
} FakeDump;

typedef struct {
    SamiEventKind kind;
    SamiSession session;
} Event;

typedef struct {
    SamiFirewallEvents base;
    Table *table;
    guint32 own_port;
    GQueue queue; /* of Event */
    gboolean is_overrun;
    int fd;
} FakeEvents;

/* Readable while `is_readable`. */
static void
set_readable(int fd, gboolean is_readable)
{
    eventfd_t value;
    if (is_readable)
        eventfd_write(fd, 1);
    else
        eventfd_read(fd, &value);
}

static SamiSession
snapshot(const Table *table, const Entry *entry)
{
    SamiSession s = entry->session;
    s.timeout_s = (guint32)(entry->expires_s - table->now_s);
    return s;
}

static void
notify(Table *table, SamiEventKind kind, const Entry *entry, guint32 port)
{
    SamiSession s = snapshot(table, entry);
    s.action = (guint8)sami_firewall_action(kind);
    if (kind == SAMI_EVENT_DESTROY) {
        s.has &= SAMI_HAS_REPLY | SAMI_HAS_ID | SAMI_HAS_START | SAMI_HAS_TCP;
        memset(s.tcp_flags, 0, sizeof s.tcp_flags);
    } else {
        /* ctnetlink_conntrack_event() gives these at the end only */
        s.has &= ~(guint32) (SAMI_HAS_START | SAMI_HAS_COUNTERS);
        s.start_ns = 0;
    }
    for (GList *l = table->listeners; l; l = l->next) {
        FakeEvents *listener = l->data;
        if (port != 0 && port == listener->own_port)
            continue;
        Event *event = g_new(Event, 1);
        *event = (Event){kind, s};
        g_queue_push_tail(&listener->queue, event);
        set_readable(listener->fd, TRUE);
    }
}

static void
remove_entry(Table *table, Entry *entry, guint32 port)
{
    notify(table, SAMI_EVENT_DESTROY, entry, port);
    for (GList *l = table->dumps; l; l = l->next) {
        FakeDump *dump = l->data;
        if (dump->next == &entry->link)
            dump->next = entry->link.next;
    }
    g_hash_table_remove(table->tuples, &entry->session.key);
    g_hash_table_remove(table->tuples, &entry->reply_key);
    for (guint i = table->expected->len; i-- > 0;)
        if (sami_flow_key_equal(&g_array_index(table->expected, Expected, i).expectation.master, &entry->session.key))
            g_array_remove_index(table->expected, i);
    g_queue_unlink(&table->entries, &entry->link);
    g_free(entry);
}

static Entry *
find(const Fake *self, const SamiFlowKey *key)
{
    return g_hash_table_lookup(self->table->tuples, key);
}

static void
unref_table(Table *table)
{
    if (--table->n_refs > 0)
        return;
    while (table->entries.head)
        remove_entry(table, table->entries.head->data, 0);
    g_hash_table_unref(table->tuples);
    g_array_unref(table->expected);
    g_free(table);
}

static void
set_timeout(Table *table, Entry *entry, guint32 timeout_s)
{
    entry->expires_s = table->now_s + MIN(timeout_s, TIMEOUT_MAX_S);
}

/* nlattr_to_tcp: flags under the mask, and the scale only if both directions then have the flag. */
static void
fill_tcp(SamiSession *to, const SamiSession *from)
{
    to->has |= SAMI_HAS_TCP;
    if (!(from->has & SAMI_HAS_TCP))
        return;
    to->tcp_state = from->tcp_state;
    for (guint d = 0; d < 2; d++)
        to->tcp_flags[d] = (guint8)((from->tcp_flags[d] & 0x07) | SAMI_TCP_FLAG_BE_LIBERAL);
    if (!(to->tcp_flags[0] & to->tcp_flags[1] & SAMI_TCP_FLAG_WINDOW_SCALE))
        return;
    to->has |= SAMI_HAS_WSCALE;
    if (from->has & SAMI_HAS_WSCALE)
        memcpy(to->tcp_wscale, from->tcp_wscale, sizeof to->tcp_wscale);
}

static guint32
nat_status(const SamiSession *s)
{
    guint32 status = (sami_session_has_snat(s) ? SAMI_IPS_SRC_NAT : 0) |
                     (sami_session_has_dnat(s) ? SAMI_IPS_DST_NAT : 0);
    return status ? status | STATUS_NAT_DONE : 0;
}

static void
copy_mark_and_labels(SamiSession *to, const SamiSession *from)
{
    if (from->has & SAMI_HAS_MARK) {
        to->mark = from->mark;
        to->has = (to->has & ~(guint32)SAMI_HAS_MARK) | (to->mark ? SAMI_HAS_MARK : 0);
    }
    if (from->has & SAMI_HAS_LABELS) {
        memcpy(to->labels, from->labels, sizeof to->labels);
        to->has |= SAMI_HAS_LABELS;
    }
}

/* What is set on creation only. */
static void
copy_rest(SamiSession *to, const SamiSession *from)
{
    to->has |= from->has & (SAMI_HAS_REPLY_ZONE | SAMI_HAS_SCTP | SAMI_HAS_SEQADJ | SAMI_HAS_SYNPROXY | SAMI_HAS_HELPER | SAMI_HAS_HELPER_INFO);
    to->reply_zone = from->reply_zone;
    to->sctp_state = from->sctp_state;
    memcpy(to->sctp_vtag, from->sctp_vtag, sizeof to->sctp_vtag);
    memcpy(to->seqadj, from->seqadj, sizeof to->seqadj);
    to->synproxy_isn = from->synproxy_isn;
    to->synproxy_its = from->synproxy_its;
    to->synproxy_tsoff = from->synproxy_tsoff;
    memcpy(to->helper, from->helper, sizeof to->helper);
    memcpy(to->helper_info, from->helper_info, sizeof to->helper_info);
}

/* What the kernel makes of a record on creation. */
static SamiSession
fill_new(const SamiSession *from, const SamiTuple *mirror)
{
    SamiSession s = {.key = from->key, .reply = from->has & SAMI_HAS_REPLY ? from->reply : *mirror};
    s.has = SAMI_HAS_REPLY | SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_ID | SAMI_HAS_START |
            SAMI_HAS_COUNTERS;
    s.action = SAMI_ACTION_CREATED;
    s.status = (from->status & (SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED)) | SAMI_IPS_CONFIRMED |
               nat_status(&s);
    if (s.key.protocol == IPPROTO_TCP)
        fill_tcp(&s, from);
    copy_mark_and_labels(&s, from);
    copy_rest(&s, from);
    if (from->has & SAMI_HAS_MASTER) {
        s.has |= SAMI_HAS_MASTER;
        s.master = from->master;
        s.status |= SAMI_IPS_EXPECTED;
    }
    s.flow_id =
        sami_flow_key_hash(&s.key); /* no generation: the same tuple has the same id again */
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    s.start_ns = (guint64)now.tv_sec * 1000000000u + (guint64)now.tv_nsec;
    return s;
}

static gboolean
is_tcp_in_range(const SamiSession *s)
{
    return !(s->has & SAMI_HAS_TCP) || s->key.protocol != IPPROTO_TCP ||
           (s->tcp_state <= SAMI_TCP_STATE_MAX &&
            (!(s->has & SAMI_HAS_WSCALE) ||
             (s->tcp_wscale[0] <= TCP_WSCALE_MAX && s->tcp_wscale[1] <= TCP_WSCALE_MAX)));
}

static int
take_answer(Table *table)
{
    int answer = table->answer;
    table->answer = 0;
    return answer;
}

/* In the kernel's order: the table being full is found before a taken reply tuple. */
static int
create(Fake *self, const SamiSession *from)
{
    Table *table = self->table;
    SamiTuple mirror;
    if (table->answer)
        return take_answer(table);
    if (!sami_flow_key_mirror(&from->key, &mirror))
        return EINVAL;
    if (find(self, &from->key))
        return EEXIST;
    if (!(from->has & SAMI_HAS_TIMEOUT))
        return EINVAL;
    if ((from->has & SAMI_HAS_MASTER) && !find(self, &from->master))
        return ENOENT;
    if (table->capacity && table->entries.length >= table->capacity)
        return ENOMEM;
    if (!is_tcp_in_range(from))
        return ERANGE;
    SamiSession s = fill_new(from, &mirror);
    SamiFlowKey reply_key = {s.reply, s.key.zone, s.key.family, s.key.protocol};
    if (find(self, &reply_key))
        return EEXIST;
    Entry *entry = g_new0(Entry, 1);
    entry->session = s;
    entry->reply_key = reply_key;
    entry->link.data = entry;
    set_timeout(table, entry, from->timeout_s);
    g_hash_table_insert(table->tuples, &entry->session.key, entry);
    g_hash_table_insert(table->tuples, &entry->reply_key, entry);
    g_queue_push_tail_link(&table->entries, &entry->link);
    notify(table, SAMI_EVENT_NEW, entry, self->port);
    if (from->timeout_s == 0) /* accepted, and gone at once */
        remove_entry(table, entry, 0);
    return 0;
}

/* Which parts of a record each kind of update writes; reply tuple, NAT and window scale in none of
 * them, STATUS only where it grows. */
static const struct {
    gboolean timeout, tcp_state, tcp_flags, mark_and_labels;
} updates[] = {
    [SAMI_OP_UPDATE_FULL] = {TRUE, TRUE, TRUE, TRUE},
    [SAMI_OP_UPDATE_GROWN] = {TRUE, TRUE, TRUE, TRUE},
    [SAMI_OP_UPDATE_FLAGS] = {.tcp_flags = TRUE},
    [SAMI_OP_UPDATE_TIMEOUT] = {.timeout = TRUE},
    [SAMI_OP_UPDATE_FIXED] = {.timeout = TRUE},
};

static int
update(Fake *self, const SamiSession *from, SamiOpKind kind)
{
    Entry *entry =
        find(self, &from->key); /* also by the reply tuple, and then not with directions swapped */
    gboolean is_tcp = from->key.protocol == IPPROTO_TCP &&
                      ((from->has & SAMI_HAS_TCP) || kind == SAMI_OP_UPDATE_FLAGS);
    if (!entry)
        return ENOENT;
    if (updates[kind].tcp_state && is_tcp && from->tcp_state > SAMI_TCP_STATE_MAX)
        return ERANGE;
    const guint32 growing = SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED;
    gboolean has_status = kind == SAMI_OP_UPDATE_GROWN || kind == SAMI_OP_UPDATE_FIXED;
    gboolean has_timeout = updates[kind].timeout && (from->has & SAMI_HAS_TIMEOUT);
    if (has_timeout && (entry->session.status & SAMI_IPS_FIXED_TIMEOUT))
        return EPERM;
    if (has_timeout) /* before the status, as in the kernel: a refused status leaves it half applied */
        set_timeout(self->table, entry, from->timeout_s);
    if (has_status && (entry->session.status & growing & ~from->status))
        return EBUSY;
    if (has_status)
        entry->session.status |= (from->status & growing) | (kind == SAMI_OP_UPDATE_FIXED ? SAMI_IPS_FIXED_TIMEOUT : 0);
    if (updates[kind].tcp_state && is_tcp)
        entry->session.tcp_state = from->tcp_state;
    for (guint d = 0; d < 2 && updates[kind].tcp_flags && is_tcp; d++) {
        guint8 value = kind != SAMI_OP_UPDATE_FLAGS ? SAMI_TCP_FLAG_BE_LIBERAL
                                                   : from->tcp_flags[d] & SAMI_TCP_FLAG_BE_LIBERAL;
        entry->session.tcp_flags[d] =
            (guint8)((entry->session.tcp_flags[d] & ~SAMI_TCP_FLAG_BE_LIBERAL) | value);
    }
    if (updates[kind].mark_and_labels)
        copy_mark_and_labels(&entry->session, from);
    notify(self->table, SAMI_EVENT_UPDATE, entry, self->port);
    if (entry->expires_s <= self->table->now_s)
        remove_entry(self->table, entry, 0);
    return 0;
}

static int delete (Fake *self, const SamiSession *s)
{
    Entry *entry = find(self, &s->key);
    if (!entry || ((s->has & SAMI_HAS_ID) && s->flow_id != entry->session.flow_id))
        return ENOENT;
    remove_entry(self->table, entry, self->port);
    return 0;
}

static gboolean
is_failing(Table *table, GError **error)
{
    if (table->n_failures == 0 || (table->n_good > 0 && table->n_good--))
        return FALSE;
    table->n_failures--;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "conntrack: %s", g_strerror(ENOBUFS));
    return TRUE;
}

/* What was sent is done, whether its answers come or not. */
static gboolean
fake_apply(SamiFirewall *firewall, SamiOp *ops, guint n, GError **error)
{
    Fake *self = (Fake *)firewall;
    for (guint i = 0; i < n; i++)
        ops[i].result = ops[i].kind == SAMI_OP_CREATE   ? create(self, ops[i].session)
                        : ops[i].kind == SAMI_OP_DELETE ? delete (self, ops[i].session)
                                                        : update(self, ops[i].session, ops[i].kind);
    if (!is_failing(self->table, error))
        return TRUE;
    for (guint i = 0; i < n; i++)
        ops[i].result = ECANCELED;
    return FALSE;
}

static gboolean
fake_get(SamiFirewall *firewall, const SamiFlowKey *keys, guint n, SamiSession *ret,
         gboolean *found, GError **error)
{
    Fake *self = (Fake *)firewall;
    if (is_failing(self->table, error))
        return FALSE;
    for (guint i = 0; i < n; i++) {
        const Entry *entry = find(self, &keys[i]);
        found[i] = entry != NULL;
        if (entry)
            ret[i] = snapshot(self->table, entry);
    }
    return TRUE;
}

/* 0 as capacity is no limit; nf_conntrack_max is 32 bits wide. */
static gboolean
fake_headroom(SamiFirewall *firewall, guint64 *ret_entries, guint64 *ret_max, GError **error)
{
    Table *table = ((Fake *)firewall)->table;
    if (is_failing(table, error))
        return FALSE;
    *ret_entries = table->entries.length;
    *ret_max = table->capacity ? table->capacity : G_MAXUINT32;
    return TRUE;
}

static Expected *
find_expected(const Table *table, const SamiExpectation *e)
{
    for (guint i = 0; i < table->expected->len; i++) {
        Expected *expected = &g_array_index(table->expected, Expected, i);
        if (sami_flow_key_equal(&expected->expectation.key, &e->key))
            return expected;
    }
    return NULL;
}

static void
remove_expected(Table *table, const Expected *expected)
{
    g_array_remove_index(table->expected, (guint)(expected - (Expected *)(void *)table->expected->data));
}

/* What the helper's policy does not allow is silently the end of the oldest one. */
static void
evict(Table *table, const SamiSession *master)
{
    guint max = strcmp(master->helper, "ftp") == 0 ? 1 : EXPECT_OTHERS_MAX, n = 0;
    for (guint i = table->expected->len; i-- > 0;)
        if (sami_flow_key_equal(&g_array_index(table->expected, Expected, i).expectation.master, &master->key) && ++n >= max)
            g_array_remove_index(table->expected, i);
}

static int
create_expected(Table *table, const Entry *master, const SamiExpectation *e)
{
    if (table->answer)
        return take_answer(table);
    if (!master)
        return ENOENT;
    if (!(master->session.has & SAMI_HAS_HELPER))
        return EOPNOTSUPP;
    evict(table, &master->session);
    Expected expected = {*e, table->now_s + EXPECT_TIMEOUT_S};
    expected.expectation.master = master->session.key;
    expected.expectation.id = sami_flow_key_hash(&e->key);
    expected.expectation.has |= SAMI_EXPECT_HAS_ID | SAMI_EXPECT_HAS_HELPER;
    memcpy(expected.expectation.helper, master->session.helper, sizeof expected.expectation.helper);
    g_array_append_val(table->expected, expected);
    return 0;
}

static int
expect_one(Fake *self, const SamiExpectation *e, SamiExpectOpKind kind)
{
    Table *table = self->table;
    Expected *expected = find_expected(table, e);
    if (kind == SAMI_EXPECT_CREATE)
        return expected ? EEXIST : create_expected(table, find(self, &e->master), e);
    if (!expected || (kind == SAMI_EXPECT_DELETE && (e->has & SAMI_EXPECT_HAS_ID) && e->id != expected->expectation.id))
        return ENOENT;
    if (kind == SAMI_EXPECT_SET_TIMEOUT)
        expected->expires_s = table->now_s + e->timeout_s;
    if (kind == SAMI_EXPECT_DELETE || expected->expires_s <= table->now_s)
        remove_expected(table, expected);
    return 0;
}

static gboolean
fake_expect(SamiFirewall *firewall, SamiExpectOp *ops, guint n, GError **error)
{
    for (guint i = 0; i < n; i++)
        ops[i].result = expect_one((Fake *)firewall, ops[i].expectation, ops[i].kind);
    return !is_failing(((Fake *)firewall)->table, error);
}

static gboolean
fake_expectations(SamiFirewall *firewall, const SamiFlowKey *master, SamiExpectationFunc func, gpointer user_data, GError **error)
{
    Fake *self = (Fake *)firewall;
    const Table *table = self->table;
    const Entry *entry = master ? find(self, master) : NULL;
    guint n = table->expected->len;
    if (is_failing(self->table, error))
        return FALSE;
    g_autofree Expected *all = g_memdup2(table->expected->data, n * sizeof *all); /* `func` may change them */
    for (guint i = 0; i < n; i++) {
        SamiExpectation e = all[i].expectation;
        if (master && (!entry || !sami_flow_key_equal(&e.master, &entry->session.key)))
            continue;
        e.timeout_s = (guint32)(all[i].expires_s - table->now_s);
        if (!master)
            e.key.zone = e.master.zone = 0;
        func(&e, user_data);
    }
    return TRUE;
}

static int
dump_fd(SamiFirewallDump *dump)
{
    return ((FakeDump *)dump)->fd;
}

static void
fill_part(FakeDump *self)
{
    for (self->n_part = 0; self->n_part < self->table->part_entries && self->next; self->n_part++) {
        self->part[self->n_part] = snapshot(self->table, self->next->data);
        self->next = self->next->next;
    }
}

static SamiDumpStatus
dump_next(SamiFirewallDump *dump, SamiSessionFunc func, gpointer user_data, GError **error)
{
    FakeDump *self = (FakeDump *)dump;
    guint n = self->n_part;
    g_autofree SamiSession *part = g_memdup2(self->part, n * sizeof *part);
    fill_part(self);
    for (guint i = 0; i < n; i++)
        if (sami_firewall_selects(&self->filter, &part[i], &dump->n_not_vm_end))
            func(&part[i], user_data);
    return self->n_part > 0 ? SAMI_DUMP_MORE : SAMI_DUMP_END;
}

static void
dump_free(SamiFirewallDump *dump)
{
    FakeDump *self = (FakeDump *)dump;
    self->table->dumps = g_list_remove(self->table->dumps, self);
    unref_table(self->table);
    close(self->fd);
    g_free(self);
}

static SamiFirewallDump *
fake_dump_new(SamiFirewall *firewall, const SamiDumpFilter *filter, GError **error)
{
    static const SamiDumpOps ops = {dump_fd, dump_next, dump_free};
    if (is_failing(((Fake *)firewall)->table, error))
        return NULL;
    FakeDump *self = g_new0(FakeDump, 1);
    self->base.ops = &ops;
    self->table = ((Fake *)firewall)->table;
    self->table->n_refs++;
    self->table->dumps = g_list_prepend(self->table->dumps, self);
    self->filter = *filter;
    self->next = self->table->entries.head;
    fill_part(self);
    self->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK); /* always readable */
    return &self->base;
}

static int
events_fd(SamiFirewallEvents *events)
{
    return ((FakeEvents *)events)->fd;
}

static gboolean
events_read(SamiFirewallEvents *events, guint max_events, SamiEventFunc func, gpointer user_data,
            GError **error)
{
    FakeEvents *self = (FakeEvents *)events;
    gboolean is_overrun = self->is_overrun;
    self->is_overrun = FALSE;
    for (guint i = 0; i < max_events && !is_overrun && self->queue.length > 0; i++) {
        g_autofree Event *event = g_queue_pop_head(&self->queue);
        func(event->kind, &event->session, user_data);
    }
    if (self->queue.length == 0 && !self->is_overrun)
        set_readable(self->fd, FALSE);
    if (is_overrun)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_OVERRUN, "conntrack events: some were dropped");
    return !is_overrun;
}

static gboolean
events_barrier(SamiFirewallEvents *events, SamiEventFunc func, gpointer user_data, GError **error)
{
    return events_read(events, G_MAXUINT, func, user_data, error);
}

static void
events_free(SamiFirewallEvents *events)
{
    FakeEvents *self = (FakeEvents *)events;
    self->table->listeners = g_list_remove(self->table->listeners, self);
    g_queue_clear_full(&self->queue, g_free);
    unref_table(self->table);
    close(self->fd);
    g_free(self);
}

static SamiFirewallEvents *
fake_events_new(SamiFirewall *firewall, GError **error)
{
    static const SamiEventsOps ops = {events_fd, events_read, events_barrier, events_free};
    FakeEvents *self = g_new0(FakeEvents, 1);
    self->base.ops = &ops;
    self->table = ((Fake *)firewall)->table;
    self->table->n_refs++;
    self->table->listeners = g_list_prepend(self->table->listeners, self);
    self->own_port = ((Fake *)firewall)->port;
    self->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return &self->base;
}

static void
fake_free(SamiFirewall *firewall)
{
    unref_table(((Fake *)firewall)->table);
    g_free(firewall);
}

static SamiFirewall *
new_handle(Table *table)
{
    static const SamiFirewallOps ops = {fake_free,     fake_apply,      fake_get,
                                        fake_dump_new, fake_events_new, fake_headroom,
                                        fake_expect,   fake_expectations};
    Fake *self = g_new0(Fake, 1);
    self->base.ops = &ops;
    self->table = table;
    self->port = ++table->n_ports;
    table->n_refs++;
    return &self->base;
}

SamiFirewall *
sami_firewall_fake_new(guint capacity)
{
    Table *table = g_new0(Table, 1);
    table->capacity = capacity;
    table->part_entries = PART_ENTRIES_MAX;
    table->tuples = g_hash_table_new(sami_flow_key_hash, sami_flow_key_equal);
    table->expected = g_array_new(FALSE, FALSE, sizeof(Expected));
    return new_handle(table);
}

SamiFirewall *
sami_firewall_fake_share(SamiFirewall *firewall)
{
    return new_handle(((Fake *)firewall)->table);
}

/* Defaults of nf_conntrack_proto_*.c. */
static guint32
own_timeout(const SamiSession *s)
{
    switch (s->key.protocol) {
    case IPPROTO_TCP:
        return s->tcp_state == SAMI_TCP_STATE_ESTABLISHED ? 432000 : 120;
    case IPPROTO_UDP:
        return s->status & SAMI_IPS_ASSURED ? 120 : 30;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        return 30;
    default:
        return 600;
    }
}

gboolean
sami_firewall_fake_touch(SamiFirewall *firewall, const SamiFlowKey *key, guint direction,
                         guint64 octets)
{
    Fake *self = (Fake *)firewall;
    Entry *entry = find(self, key);
    if (!entry)
        return FALSE;
    SamiSession *s = &entry->session;
    s->packets[direction & 1]++;
    s->octets[direction & 1] += octets;
    if (!(s->status & SAMI_IPS_FIXED_TIMEOUT))
        set_timeout(self->table, entry, own_timeout(s));
    if ((direction & 1) && !(s->status & SAMI_IPS_SEEN_REPLY)) {
        s->status |= SAMI_IPS_SEEN_REPLY;
        notify(self->table, SAMI_EVENT_UPDATE, entry, 0);
    }
    return TRUE;
}

gboolean
sami_firewall_fake_set_state(SamiFirewall *firewall, const SamiFlowKey *key, guint8 tcp_state)
{
    Fake *self = (Fake *)firewall;
    Entry *entry = find(self, key);
    if (!entry || !(entry->session.has & SAMI_HAS_TCP))
        return FALSE;
    entry->session.tcp_state = tcp_state;
    set_timeout(self->table, entry, own_timeout(&entry->session));
    notify(self->table, SAMI_EVENT_UPDATE, entry, 0);
    return TRUE;
}

void
sami_firewall_fake_age(SamiFirewall *firewall, guint32 seconds)
{
    Table *table = ((Fake *)firewall)->table;
    table->now_s += seconds;
    for (guint i = table->expected->len; i-- > 0;)
        if (g_array_index(table->expected, Expected, i).expires_s <= table->now_s)
            g_array_remove_index(table->expected, i);
    for (GList *l = table->entries.head, *next; l; l = next) {
        Entry *entry = l->data;
        next = l->next;
        if (entry->expires_s <= table->now_s) {
            entry->expires_s = table->now_s;
            remove_entry(table, entry, 0);
        }
    }
}

gboolean
sami_firewall_fake_delete(SamiFirewall *firewall, const SamiFlowKey *key)
{
    Fake *self = (Fake *)firewall;
    Entry *entry = find(self, key);
    if (entry)
        remove_entry(self->table, entry, 0);
    return entry != NULL;
}

gboolean
sami_firewall_fake_change(SamiFirewall *firewall, const SamiFlowKey *key, void (*change)(SamiSession *session))
{
    Entry *entry = find((Fake *)firewall, key);
    if (entry)
        change(&entry->session);
    return entry != NULL;
}

void
sami_firewall_fake_answer(SamiFirewall *firewall, int result)
{
    ((Fake *)firewall)->table->answer = result;
}

void
sami_firewall_fake_fail(SamiFirewall *firewall, guint n_good, guint n_failures)
{
    Table *table = ((Fake *)firewall)->table;
    table->n_good = n_good;
    table->n_failures = n_failures;
}

void
sami_firewall_fake_overrun(SamiFirewall *firewall)
{
    for (GList *l = ((Fake *)firewall)->table->listeners; l; l = l->next) {
        FakeEvents *listener = l->data;
        listener->is_overrun = TRUE;
        g_queue_clear_full(&listener->queue, g_free);
        set_readable(listener->fd, TRUE);
    }
}

void
sami_firewall_fake_set_part(SamiFirewall *firewall, guint n_entries)
{
    ((Fake *)firewall)->table->part_entries = CLAMP(n_entries, 1, PART_ENTRIES_MAX);
}
