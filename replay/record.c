/* record: this kernel's connection tracking, or a part of it, as a signed file: a backup of a firewall's state, which inject puts back.
 *
 * One dump, not followed by events: an entry is as it was when the dump came past it. Zones and marks are this firewall's own: VLANs, mark-mask and the
 * like are what a stream to somebody else has. */
#include "replay/replay.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "common/value.h"
#include "firewall/expect.h"
#include "replay/record-sets.h"
#include "templates/elements.h"

#define WAIT_MS 200
#define CHILDREN_MAX 65536u /* held back until every master is written; beyond it they go as they come, and inject lets them wait */

typedef struct {
    const Replay *replay;
    SamiFirewall *firewall;
    SamiKey *key;
    ReplayOutput *output;
    GArray *vm;          /* of SamiPrefix */
    SamiDumpFilter filter;
    GArray *children;    /* of SamiSession */
    guint8 *helped;      /* a bit a zone: where helpers are */
    GError *error;       /* of a callback */
    guint64 n_sessions, n_expectations, n_not_vm_end;
    ReplaySetCounts sets;
    gint64 first_ms, last_ms;
    sigset_t signals;    /* which end it, with nothing left */
} Recording;

static void
write_record(Recording *r, const SamiRecord *record)
{
    if (!r->error)
        replay_output_add(r->output, record, &r->error);
}

static void
write_session(Recording *r, const SamiSession *s)
{
    SamiRecord record = { .kind = SAMI_RECORD_SESSION, .session = *s };
    record.session.action = SAMI_ACTION_CREATED;
    record.session.timeout_s = MAX(s->timeout_s, 1); /* its last second */
    write_record(r, &record);
    r->n_sessions++;
}

static void
on_session(const SamiSession *s, gpointer user_data)
{
    Recording *r = user_data;
    if (s->has & SAMI_HAS_HELPER)
        r->helped[s->key.zone / 8] |= (guint8) (1u << (s->key.zone % 8));
    if ((s->has & SAMI_HAS_MASTER) && r->children->len < CHILDREN_MAX)
        g_array_append_vals(r->children, s, 1);
    else
        write_session(r, s);
}

/* A master may be a child itself, so in rounds: those whose master is not waiting. */
static void
write_children(Recording *r)
{
    g_autoptr(GHashTable) waiting = g_hash_table_new(sami_flow_key_hash, sami_flow_key_equal);
    guint n = r->children->len, n_before = n + 1;
    g_autofree gboolean *is_written = g_new0(gboolean, n + 1);
    for (guint i = 0; i < n; i++)
        g_hash_table_add(waiting, &g_array_index(r->children, SamiSession, i).key);
    for (guint n_left = n; n_left > 0 && n_left < n_before;) {
        n_before = n_left;
        for (guint i = 0; i < n; i++) {
            SamiSession *s = &g_array_index(r->children, SamiSession, i);
            if (is_written[i] || g_hash_table_contains(waiting, &s->master))
                continue;
            write_session(r, s);
            is_written[i] = TRUE;
            n_left--;
        }
        for (guint i = 0; i < n; i++)
            if (is_written[i])
                g_hash_table_remove(waiting, &g_array_index(r->children, SamiSession, i).key);
    }
    for (guint i = 0; i < n; i++)
        if (!is_written[i]) /* masters of each other: what the kernel says is written all the same */
            write_session(r, &g_array_index(r->children, SamiSession, i));
}

static gboolean
check_signals(Recording *r)
{
    const struct timespec none = { 0 };
    if (!r->error && sigtimedwait(&r->signals, NULL, &none) > 0)
        g_set_error(&r->error, SAMI_ERROR, SAMI_ERROR_FAILED, "interrupted; %s is not written", r->replay->args.output);
    return r->error == NULL;
}

static gboolean
write_table(Recording *r)
{
    SamiDumpStatus status = SAMI_DUMP_MORE;
    g_autoptr(GError) error = NULL; /* a callback may have failed in the same part */
    r->first_ms = g_get_real_time() / 1000;
    g_autoptr(SamiFirewallDump) dump = sami_firewall_dump_new(r->firewall, &r->filter, &error);
    while (dump && check_signals(r) && status == SAMI_DUMP_MORE) {
        struct pollfd ready = { .fd = sami_firewall_dump_fd(dump), .events = POLLIN };
        if (poll(&ready, 1, WAIT_MS) > 0)
            status = sami_firewall_dump_next(dump, on_session, r, &error);
    }
    r->last_ms = g_get_real_time() / 1000;
    r->n_not_vm_end = dump ? sami_firewall_dump_not_vm_end(dump) : 0;
    if (error && !r->error)
        r->error = g_steal_pointer(&error);
    if (r->error)
        return FALSE;
    write_children(r);
    return r->error == NULL;
}

static void
on_expectation(const SamiExpectation *e, const SamiSession *master, gpointer user_data)
{
    Recording *r = user_data;
    SamiRecord record = { .kind = SAMI_RECORD_EXPECTATION, .expectation = *e };
    gboolean is_of_vm = r->vm->len == 0 || sami_prefixes_contain(r->filter.prefixes, r->vm->len, master->key.family, &master->key.orig.src) ||
                        sami_prefixes_contain(r->filter.prefixes, r->vm->len, master->key.family, &master->reply.src);
    gboolean is_of_mark = !r->filter.has_mark || ((master->has & SAMI_HAS_MARK) ? master->mark : 0) == r->filter.mark;
    if (!is_of_vm || !is_of_mark)
        return;
    record.expectation.action = SAMI_ACTION_CREATED;
    record.expectation.timeout_s = MAX(e->timeout_s, 1);
    record.expectation.has &= ~(guint32) SAMI_EXPECT_HAS_ID;
    write_record(r, &record);
    r->n_expectations++;
}

static gboolean
write_expectations(Recording *r)
{
    g_autoptr(GArray) zones = g_array_new(FALSE, FALSE, sizeof(guint16));
    for (guint zone = 0; zone <= G_MAXUINT16; zone++) {
        guint16 number = (guint16) zone;
        if (r->helped[zone / 8] >> (zone % 8) & 1)
            g_array_append_val(zones, number);
    }
    g_autoptr(GError) error = NULL;
    if (zones->len > 0 && !sami_expectations_find(r->firewall, zones, on_expectation, r, &error) && !r->error)
        r->error = g_steal_pointer(&error);
    return r->error == NULL;
}

/* Elements of sets have neither zone nor mark. */
static gboolean
has_sets(const Recording *r)
{
    return r->replay->config->cumulatives->len > 0 && !r->filter.has_zone && !r->filter.has_mark;
}

/* RFC 5610 types, whose addresses, begin. */
static void
write_beginning(Recording *r)
{
    SamiRecord begin = { .kind = SAMI_RECORD_BEGIN, .begin = { .n_addresses = (guint16) r->vm->len } };
    for (guint i = 0; i < SAMI_N_ELEMENTS; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_TYPE_INFORMATION };
        if (sami_type_information(i, &record.type_information))
            write_record(r, &record);
    }
    for (guint i = 0; i < r->vm->len; i++) {
        SamiRecord record = { .vm_address = g_array_index(r->vm, SamiPrefix, i) };
        record.kind = record.vm_address.family == 4 ? SAMI_RECORD_VM_ADDRESS4 : SAMI_RECORD_VM_ADDRESS6;
        write_record(r, &record);
    }
    begin.begin.kinds = SAMI_KIND_SESSION | SAMI_KIND_EXPECTATION | (has_sets(r) ? SAMI_KIND_CUMULATIVE : 0);
    g_strlcpy(begin.begin.destination, r->replay->config->name, sizeof begin.begin.destination);
    write_record(r, &begin);
}

/* RFC 7011 §4.3: what names the VM and was left out, since the VM is not its own end; and the end. */
static void
write_end(Recording *r)
{
    SamiRecord record = { .kind = SAMI_RECORD_STATISTICS };
    record.statistics = (SamiStatistics){ .process_id = (guint32) getpid(), .n_flows = r->n_not_vm_end };
    if (r->n_not_vm_end > 0) {
        record.statistics.first_ms = (guint64) r->first_ms;
        record.statistics.last_ms = (guint64) r->last_ms;
    }
    write_record(r, &record);
    record = (SamiRecord){ .kind = SAMI_RECORD_END, .end = { r->n_sessions } };
    write_record(r, &record);
}

static gboolean
parse_number(const gchar *text, const gchar *option, guint64 max, gboolean *ret_has, guint64 *ret, GError **error)
{
    *ret_has = text != NULL;
    *ret = 0;
    if (!text || sami_value_uint(text, 0, max, ret, error))
        return TRUE;
    g_prefix_error(error, "--%s: ", option);
    (*error)->code = SAMI_ERROR_USAGE;
    return FALSE;
}

static gboolean
parse(Recording *r, GError **error)
{
    const ReplayArgs *args = &r->replay->args;
    guint64 zone, mark;
    if (!args->output) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, "record: --output FILE is missing; - is standard output");
        return FALSE;
    }
    for (guint i = 0; args->vms && args->vms[i]; i++) {
        SamiPrefix prefix;
        if (r->vm->len >= SAMI_VM_ADDRESSES_MAX) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--vm: at most %u are taken", SAMI_VM_ADDRESSES_MAX);
            return FALSE;
        }
        if (!sami_prefix_parse(args->vms[i], &prefix, error)) {
            g_prefix_error(error, "--vm: ");
            return FALSE;
        }
        g_array_append_val(r->vm, prefix);
    }
    if (!parse_number(args->zone, "zone", G_MAXUINT16, &r->filter.has_zone, &zone, error) ||
        !parse_number(args->mark, "mark", G_MAXUINT32, &r->filter.has_mark, &mark, error))
        return FALSE;
    r->filter.zone = (guint16) zone;
    r->filter.mark = (guint32) mark;
    r->filter.mark_mask = G_MAXUINT32;
    r->filter.prefixes = (const SamiPrefix *) (const void *) r->vm->data;
    r->filter.n_prefixes = r->vm->len;
    r->filter.is_counting_not_vm_end = r->vm->len > 0;
    return TRUE;
}

/* Everything that may be missing, before there is a file. Signals are blocked and asked for, so that they do not leave one behind; a pipe has nothing to
 * leave behind. */
static gboolean
prepare(Recording *r, Replay *replay, GError **error)
{
    static const int ending[] = { SIGINT, SIGTERM, SIGHUP };
    if (!parse(r, error) || !replay_load_config(replay, error))
        return FALSE;
    if (!replay->config) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "no configuration (%s/sami.conf, or -c), so no signing key", SAMI_SYSCONFDIR);
        return FALSE;
    }
    sigemptyset(&r->signals);
    for (guint i = 0; !g_str_equal(replay->args.output, "-") && i < G_N_ELEMENTS(ending); i++)
        sigaddset(&r->signals, ending[i]);
    sigprocmask(SIG_BLOCK, &r->signals, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error like a full disk */
    return (r->key = sami_key_load_private(replay->config->signing_key, replay->config->key_passphrase_file, error)) && (r->firewall = sami_firewall_linux_new(error)) &&
           (r->output = replay_output_new(replay->args.output, r->key, error));
}

static void
print_summary(const Recording *r)
{
    FILE *stream = g_str_equal(r->replay->args.output, "-") ? stderr : stdout;
    ReplayOutputInfo info;
    replay_output_info(r->output, &info);
    if (r->replay->args.is_json) {
        g_autofree gchar *valid = g_utf8_make_valid(r->replay->args.output, -1);
        g_autoptr(JsonObject) object = json_object_new();
        json_object_set_string_member(object, "event", "summary");
        json_object_set_string_member(object, "file", valid);
        json_object_set_string_member(object, "id", info.id);
        json_object_set_int_member(object, "sessions", (gint64) r->n_sessions);
        json_object_set_int_member(object, "expectations", (gint64) r->n_expectations);
        json_object_set_int_member(object, "not_vm_end", (gint64) r->n_not_vm_end);
        json_object_set_int_member(object, "messages", (gint64) info.n_messages);
        json_object_set_int_member(object, "octets", (gint64) info.n_octets);
        json_object_set_int_member(object, "elements", (gint64) r->sets.n_elements);
        json_object_set_int_member(object, "elements_left", (gint64) r->sets.n_left);
        json_object_set_int_member(object, "exit", r->sets.n_failed ? SAMI_EXIT_DEGRADED : SAMI_EXIT_DONE);
        g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), object);
        g_autofree gchar *text = json_to_string(node, FALSE);
        fprintf(stream, "%s\n", text);
    } else if (!r->replay->args.is_quiet) {
        replay_say(stream, NULL, "%s: %" G_GUINT64_FORMAT " flows, %" G_GUINT64_FORMAT " expectations, %" G_GUINT64_FORMAT " set elements; %" G_GUINT64_FORMAT
                   " Messages, %" G_GUINT64_FORMAT " octets, id %.8s\n", r->replay->args.output, r->n_sessions, r->n_expectations, r->sets.n_elements,
                   info.n_messages, info.n_octets, info.id);
    }
}

SamiExit
replay_record(Replay *replay, GError **error)
{
    Recording r = { .replay = replay, .vm = g_array_new(FALSE, TRUE, sizeof(SamiPrefix)), .children = g_array_new(FALSE, FALSE, sizeof(SamiSession)),
                    .helped = g_malloc0((G_MAXUINT16 + 1u) / 8) };
    gboolean is_done = FALSE;
    if (prepare(&r, replay, &r.error)) {
        write_beginning(&r);
        is_done = !r.error && write_table(&r) && write_expectations(&r) &&
                  (!has_sets(&r) || replay_record_sets(replay->config, r.vm, r.output, &r.sets, &r.error));
        if (is_done)
            write_end(&r);
        is_done = is_done && check_signals(&r) && replay_output_finish(r.output, &r.error);
    }
    if (is_done)
        print_summary(&r);
    if (r.error)
        g_propagate_error(error, r.error);
    replay_output_free(r.output);
    sami_firewall_free(r.firewall);
    sami_key_free(r.key);
    g_array_unref(r.vm);
    g_array_unref(r.children);
    g_free(r.helped);
    return !is_done ? SAMI_EXIT_FAILED : r.sets.n_failed ? SAMI_EXIT_DEGRADED : SAMI_EXIT_DONE;
}
