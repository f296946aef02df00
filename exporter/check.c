/* `samictl check`: what of a VM's sessions would not survive a move, and why, before it. Looks at this host and at the VM's entries, sends them to the
 * destination as a dry run, and puts together what both sides say. Nothing is written on either. */
#include <string.h>

#include "exporter/exporter.h"

#include "common/control-json.h"
#include "firewall/host.h"
#include "templates/finding.h"
#include "transport/daemon.h"

#define SKEW_MAX_S 5          /* what NTP never leaves */
#define EXAMPLES 20u          /* flows that are named in the answer */

/* How a finding that is not of a host came up. Ids are stable. */
typedef struct {
    const gchar *id;
    guint8 severity;
    const gchar *text; /* %s: the subject */
    const gchar *fix;
} Kind;

enum { VM_PREFIXES, NO_SESSIONS, SILENT, NOT_VM_END, OWN_END, LEFT_BEHIND, NO_SESSION, NO_ANSWER, DISBELIEVED, PLAIN, OLD, SKEW, MERGED, ROUTED };

static const Kind kinds[] = {
    [VM_PREFIXES] = { "vm-prefixes", SAMI_SEVERITY_LOSS, "%s is not inside vm-prefixes of this firewall: its state may not leave",
                      "add it to vm-prefixes in sami.conf, then: systemctl reload sami-exporter" },
    [NO_SESSIONS] = { "no-sessions", SAMI_SEVERITY_NOTE, "no session of this VM is in the table", "" },
    [SILENT] = { "silent-entries", SAMI_SEVERITY_WARNING,
                 "they may send no events (older than nf_conntrack_events=1 here): the freeze is a scan of the whole table, which takes longer",
                 "wait until they have ended; meanwhile keep: sysctl -w net.netfilter.nf_conntrack_events=1" },
    [NOT_VM_END] = { "not-vm-end", SAMI_SEVERITY_WARNING, "they name the VM, which is not their untranslated end: they do not move, and break if their packets do",
                     "translate these flows on one side of this firewall only" },
    [OWN_END] = { "own-end", SAMI_SEVERITY_NOTE, "their other end is this firewall itself, or in ignore-addresses: they do not move", "" },
    [LEFT_BEHIND] = { "left-behind", SAMI_SEVERITY_LOSS, "no destination takes them: %s", "" },
    [NO_SESSION] = { "peer-unreachable", SAMI_SEVERITY_LOSS, "no session with it: %s", "start its sami-collector, or compare `samictl peer list` on both sides" },
    [NO_ANSWER] = { "peer-silent", SAMI_SEVERITY_LOSS, "%s", "see the log of its sami-collector" },
    [DISBELIEVED] = { "peer-not-believed", SAMI_SEVERITY_LOSS, "what it answers is not believed: %s", "exchange the peer files again, and compare the versions" },
    [PLAIN] = { "plain-collector", SAMI_SEVERITY_WARNING, "it is a plain collector (receipts=false), which never says what became of anything", "" },
    [OLD] = { "check-unsupported", SAMI_SEVERITY_WARNING, "its version knows no check, so nothing is known of it", "bring both firewalls to the same version" },
    [SKEW] = { "clock-skew", SAMI_SEVERITY_WARNING, "its clock is %s s from ours: start times, announcements, journals and certificates are judged by it",
               "chronyc makestep    (on both)" },
    [MERGED] = { "present-there", SAMI_SEVERITY_NOTE, "they are there already: the entry of there stays, with lenient window tracking", "" },
    [ROUTED] = { "nat-address", SAMI_SEVERITY_NOTE, "translated address %s is on no interface of either: what routes it here has to route it there", "" },
};

/* What a count of the receipt repeats of a finding that says more. */
static const struct {
    SamiReason reason;
    const gchar *finding;
} explained[] = {
    { SAMI_REASON_LABELS_LOST, "label-rule" },
    { SAMI_REASON_MAX_SESSIONS, "table-room" },
    { SAMI_REASON_NO_HELPER, "helper" },
};

typedef struct {
    SamiFinding finding;
    gboolean is_remote;
    gboolean is_quoted; /* it is in the peer's words, who may want us to run anything */
} Found;

struct SamiCheck {
    SamiExporter *exporter;
    const SamiConfig *config;     /* a reference */
    const SamiConfigPeer *peer;   /* (nullable) in `config` */
    SamiControlClient *client;
    SamiVlans *vlans;             /* (nullable) a reference */
    GArray *vm, *ignored;         /* of SamiPrefix */
    SamiDumpFilter filter;
    guint64 events_since_ns;
    SamiFirewall *firewall;
    SamiHostFacts *facts;
    SamiHostNeeds needs;
    SamiFirewallDump *dump;       /* (nullable) runs */
    GSource *source;
    gpointer tag;
    GHashTable *seen;             /* of SamiFlowKey: a dump may hand an entry out twice */
    SamiDryRun *run;              /* (nullable) */
    gboolean is_bound;            /* sessions are sent */
    gboolean is_answered;
    gboolean has_dumped;
    guint idle;                   /* the end, from the main loop */
    guint64 n_sessions, n_ignored, n_silent, n_not_vm_end;
    guint64 unmovable[SAMI_N_REASONS];
    SamiReceipt receipt;
    guint64 refused[SAMI_N_REASONS], degraded[SAMI_N_REASONS];
    GArray *found;                /* of Found */
    GPtrArray *examples;          /* of gchar * */
};

static void
add(SamiCheck *check, const SamiFinding *finding, gboolean is_remote, gboolean is_quoted)
{
    Found found = { *finding, is_remote, is_quoted };
    g_array_append_val(check->found, found);
}

static void
find(SamiCheck *check, guint kind, const gchar *subject, guint64 count, gboolean is_remote)
{
    SamiFinding finding;
    sami_finding_fill(&finding, kinds[kind].id, kinds[kind].severity, subject, count, kinds[kind].text, kinds[kind].fix);
    add(check, &finding, is_remote, FALSE);
}

static gboolean
has_found(const SamiCheck *check, const gchar *id)
{
    for (guint i = 0; i < check->found->len; i++)
        if (strncmp(g_array_index(check->found, Found, i).finding.id, id, sizeof ((SamiFinding *) NULL)->id) == 0)
            return TRUE;
    return FALSE;
}

/* Sessions that findings of this id concern. */
static guint64
count_found(const SamiCheck *check, const gchar *id)
{
    guint64 n = 0;
    for (guint i = 0; i < check->found->len; i++) {
        const SamiFinding *finding = &g_array_index(check->found, Found, i).finding;
        n += strncmp(finding->id, id, sizeof finding->id) == 0 ? finding->count : 0;
    }
    return n;
}

static void
on_host_finding(const SamiFinding *finding, gpointer user_data)
{
    add(user_data, finding, FALSE, FALSE);
}

/* --- the end --- */

/* One finding a reason. Where a finding of the host says why, it is enough. */
static void
find_reasons(SamiCheck *check, const gchar *what, guint8 severity, const guint64 *counts)
{
    for (guint r = 1; r < SAMI_N_REASONS; r++) {
        gboolean is_explained = FALSE;
        SamiFinding finding;
        for (guint i = 0; i < G_N_ELEMENTS(explained); i++)
            is_explained |= explained[i].reason == r && count_found(check, explained[i].finding) >= counts[r];
        if (counts[r] == 0 || is_explained)
            continue;
        g_autofree gchar *id = g_strdup_printf("%s-%s", what, sami_reason_id(r));
        sami_finding_fill(&finding, id, severity, sami_reason_id(r), counts[r], sami_reason_text(r), "");
        add(check, &finding, TRUE, TRUE);
    }
}

/* The policies of all destinations at once: what is left is what none takes. */
static SamiReason
judge_movable(const SamiCheck *check, const SamiSession *s)
{
    static const SamiPrefix any[] = { { .family = 4 }, { .family = 6 } };
    const SamiPolicy policy = { .vm = (const SamiPrefix *) (const void *) check->vm->data, .n_vm = check->vm->len, .nat_addresses = any,
                                .n_nat_addresses = G_N_ELEMENTS(any), .zones = &s->key.zone, .n_zones = 1 };
    return sami_validate_session(s, &policy);
}

static void
conclude(SamiCheck *check)
{
    if (check->has_dumped) {
        if (check->n_sessions == 0)
            find(check, NO_SESSIONS, "", 0, FALSE);
        if (check->n_silent > 0)
            find(check, SILENT, "", check->n_silent, FALSE);
        if (check->n_not_vm_end > 0)
            find(check, NOT_VM_END, "", check->n_not_vm_end, FALSE);
        if (check->n_ignored > 0)
            find(check, OWN_END, "", check->n_ignored, FALSE);
    }
    for (guint r = 1; r < SAMI_N_REASONS && !check->is_answered; r++)
        if (check->unmovable[r] > 0)
            find(check, LEFT_BEHIND, sami_reason_text(r), check->unmovable[r], FALSE);
    if (!check->is_answered)
        return;
    if (check->receipt.n_merged > 0)
        find(check, MERGED, "", check->receipt.n_merged, TRUE);
    find_reasons(check, "refused", SAMI_SEVERITY_LOSS, check->refused);
    find_reasons(check, "degraded", SAMI_SEVERITY_WARNING, check->degraded);
}

static JsonObject *
describe(const SamiCheck *check, guint8 *ret_worst)
{
    JsonObject *object = json_object_new(), *counts = json_object_new();
    JsonArray *vm = json_array_new(), *findings = json_array_new(), *examples = json_array_new();
    *ret_worst = 0;
    for (guint i = 0; i < check->vm->len; i++) {
        g_autofree gchar *text = sami_prefix_to_string(&g_array_index(check->vm, SamiPrefix, i));
        json_array_add_string_element(vm, text);
    }
    for (guint i = 0; i < check->found->len; i++) {
        const Found *found = &g_array_index(check->found, Found, i);
        JsonObject *finding = sami_finding_to_json(&found->finding, found->is_remote ? check->peer->name : check->config->name,
                                                   found->is_remote ? "destination" : "source");
        if (found->is_quoted && found->finding.fix[0])
            json_object_set_string_member(finding, "fix_said_by", check->peer->name);
        json_array_add_object_element(findings, finding);
        *ret_worst = MAX(*ret_worst, found->finding.severity);
    }
    for (guint i = 0; i < check->examples->len; i++)
        json_array_add_string_element(examples, g_ptr_array_index(check->examples, i));
    json_object_set_int_member(object, "v", 1);
    json_object_set_string_member(object, "host", check->config->name);
    json_object_set_string_member(object, "role", "exporter");
    json_object_set_array_member(object, "vm", vm);
    json_object_set_string_member(object, "peer", check->peer ? check->peer->name : "");
    json_object_set_boolean_member(object, "answered", check->is_answered);
    json_object_set_int_member(counts, "sessions", (gint64) check->n_sessions);
    json_object_set_int_member(counts, "not_vm_end", (gint64) check->n_not_vm_end);
    json_object_set_int_member(counts, "ignored", (gint64) check->n_ignored);
    json_object_set_int_member(counts, "silent", (gint64) check->n_silent);
    if (check->is_answered) {
        json_object_set_int_member(counts, "survive", (gint64) (check->receipt.n_records - MIN(check->receipt.n_refused, check->receipt.n_records)));
        json_object_set_int_member(counts, "exact", (gint64) check->receipt.n_exact);
        json_object_set_int_member(counts, "merged", (gint64) check->receipt.n_merged);
        sami_control_json_add_counts(counts, "degraded", check->degraded, SAMI_N_REASONS, sami_reason_id);
        sami_control_json_add_counts(counts, "refused", check->refused, SAMI_N_REASONS, sami_reason_id);
    }
    json_object_set_object_member(object, "counts", counts);
    json_object_set_array_member(object, "findings", findings);
    json_object_set_array_member(object, "refusals", examples);
    return object;
}

static void
clear_dump(SamiCheck *check)
{
    if (check->source)
        g_source_destroy(check->source);
    g_clear_pointer(&check->source, g_source_unref);
    g_clear_pointer(&check->dump, sami_firewall_dump_free);
}

void
sami_check_free(SamiCheck *check)
{
    g_clear_handle_id(&check->idle, g_source_remove);
    sami_control_client_on_hangup(check->client, NULL, NULL);
    sami_dry_run_free(check->run);
    clear_dump(check);
    sami_firewall_free(check->firewall);
    sami_host_facts_free(check->facts);
    sami_host_needs_clear(&check->needs);
    sami_control_client_unref(check->client);
    g_hash_table_unref(check->seen);
    sami_vlans_unref(check->vlans);
    g_array_unref(check->vm);
    g_array_unref(check->ignored);
    g_array_unref(check->found);
    g_ptr_array_unref(check->examples);
    sami_config_unref(check->config);
    g_free(check);
}

static gboolean
on_over(gpointer user_data)
{
    SamiCheck *check = user_data;
    check->idle = 0;
    g_ptr_array_remove_fast(check->exporter->checks, check);
    return G_SOURCE_REMOVE;
}

/* From the idle loop: this may run inside a callback of what is freed. */
static void
let_go(SamiCheck *check)
{
    if (!check->idle)
        check->idle = sami_idle_add(on_over, check);
}

static void
finish(SamiCheck *check)
{
    guint8 worst;
    if (check->idle)
        return;
    conclude(check);
    JsonObject *answer = describe(check, &worst);
    sami_control_finish(check->client, sami_exit_of_severity(worst), answer, NULL);
    let_go(check);
}

static void
fail(SamiCheck *check, const GError *error)
{
    if (!check->idle)
        sami_control_finish(check->client, sami_exit_of_error(error), NULL, error->message);
    let_go(check);
}

/* --- the VM's entries --- */

static void
on_entry(const SamiSession *s, gpointer user_data)
{
    SamiCheck *check = user_data;
    SamiSession sent = *s;
    if (!g_hash_table_add(check->seen, g_memdup2(&s->key, sizeof s->key)))
        return;
    if (sami_ignore_is(check->ignored, check->vm, s)) {
        check->n_ignored++;
        return;
    }
    check->n_sessions++;
    check->n_silent += !(s->has & SAMI_HAS_START) || s->start_ns < check->events_since_ns;
    /* As a migration sends it. */
    sent.action = SAMI_ACTION_CREATED;
    sent.timeout_s = MAX(sent.timeout_s, 1);
    sami_host_needs_add(&check->needs, &sent);
    check->unmovable[judge_movable(check, &sent)]++;
    sami_vlan_name(check->exporter, check->config, check->vlans, &sent);
    if (check->is_bound)
        sami_dry_run_add(check->run, &sent);
}

static gboolean
on_dump(GIOCondition condition, gpointer user_data)
{
    SamiCheck *check = user_data;
    g_autoptr(GError) error = NULL;
    SamiDumpStatus status = sami_firewall_dump_next(check->dump, on_entry, check, &error);
    if (status == SAMI_DUMP_MORE) {
        if (check->is_bound && sami_dry_run_is_full(check->run))
            g_source_modify_unix_fd(check->source, check->tag, 0);
        return G_SOURCE_CONTINUE;
    }
    if (status == SAMI_DUMP_END)
        check->n_not_vm_end = sami_firewall_dump_not_vm_end(check->dump);
    clear_dump(check);
    if (status != SAMI_DUMP_END) {
        fail(check, error);
        return G_SOURCE_REMOVE;
    }
    check->has_dumped = TRUE;
    if (check->is_bound)
        sami_dry_run_finish(check->run);
    else
        finish(check);
    return G_SOURCE_REMOVE;
}

/* Counting what names the VM otherwise takes a look at the whole table. */
static void
start_dump(SamiCheck *check)
{
    g_autoptr(GError) error = NULL;
    if (check->dump || check->has_dumped)
        return;
    check->filter.prefixes = (const SamiPrefix *) (const void *) check->vm->data;
    check->filter.n_prefixes = check->vm->len;
    check->filter.is_counting_not_vm_end = TRUE;
    check->dump = sami_firewall_dump_new(check->firewall, &check->filter, &error);
    if (check->dump)
        check->source = sami_fd_source_new(sami_firewall_dump_fd(check->dump), G_IO_IN, on_dump, check, &check->tag);
    else
        fail(check, error);
}

/* --- the destination --- */

static void
on_bound(gint64 skew_s, gpointer user_data)
{
    SamiCheck *check = user_data;
    g_autofree gchar *subject = g_strdup_printf("%+" G_GINT64_FORMAT, skew_s);
    check->is_bound = TRUE;
    if (ABS(skew_s) > SKEW_MAX_S)
        find(check, SKEW, subject, 0, TRUE);
    start_dump(check);
}

static void
on_drained(gpointer user_data)
{
    SamiCheck *check = user_data;
    if (check->source)
        g_source_modify_unix_fd(check->source, check->tag, G_IO_IN);
}

/* An address that is on no interface here either is routed to this firewall: then it is nothing that the destination lacks. */
static void
take_finding(SamiCheck *check, const SamiFinding *finding)
{
    g_autofree gchar *id = g_strndup(finding->id, sizeof finding->id), *subject = g_strndup(finding->subject, sizeof finding->subject);
    SamiPrefix address;
    const GArray *own = check->facts->addresses;
    if (g_str_equal(id, "nat-address") && own && sami_prefix_parse(subject, &address, NULL) &&
        !sami_prefixes_contain((const SamiPrefix *) (const void *) own->data, own->len, address.family, &address.address))
        find(check, ROUTED, subject, finding->count, TRUE);
    else
        add(check, finding, TRUE, TRUE);
}

static void
on_answered(const SamiRecord *record, gpointer user_data)
{
    SamiCheck *check = user_data;
    const SamiReasonCount *count = &record->reason_count;
    switch (record->kind) {
    case SAMI_RECORD_FINDING: take_finding(check, &record->finding); return;
    case SAMI_RECORD_REASON_COUNT:
        if (count->reason < SAMI_N_REASONS)
            (count->scope == SAMI_SCOPE_DEGRADED ? check->degraded : check->refused)[count->reason] = count->count;
        return;
    case SAMI_RECORD_REFUSAL: {
        g_autofree gchar *detail = g_strndup(record->refusal.detail, sizeof record->refusal.detail);
        g_autofree gchar *quoted = g_strescape(detail, NULL);
        if (check->examples->len < EXAMPLES)
            g_ptr_array_add(check->examples, g_strdup_printf("%s: %s", sami_reason_id(record->refusal.reason), quoted));
        return;
    }
    default:
        check->receipt = record->receipt;
        check->is_answered = TRUE;
        finish(check);
    }
}

/* The session is refused as the migration would be: that is what is found. */
static void
find_refusal(SamiCheck *check, SamiReason reason, const gchar *text)
{
    const gchar *command = g_str_has_prefix(text, "run there: ") ? text + strlen("run there: ") : "";
    g_autofree gchar *id = g_strdup_printf("refused-%s", sami_reason_id(reason));
    g_autofree gchar *said = *command || g_str_equal(text, sami_reason_text(reason)) ? g_strdup(sami_reason_text(reason))
                                                                                    : g_strdup_printf("%s: %s", sami_reason_text(reason), text);
    g_autofree gchar *whole = g_strdup_printf("it refuses the VM: %s", said);
    SamiFinding finding;
    sami_finding_fill(&finding, id, SAMI_SEVERITY_LOSS, "%s", 0, whole, command);
    g_strlcpy(finding.subject, sami_reason_id(reason), sizeof finding.subject);
    add(check, &finding, TRUE, TRUE);
}

static void
on_ended(SamiDryRunEnd how, SamiReason reason, const gchar *text, gpointer user_data)
{
    SamiCheck *check = user_data;
    gboolean was_bound = check->is_bound;
    g_autofree gchar *quoted = g_strescape(text, NULL);
    check->is_bound = FALSE;
    if (how == SAMI_DRY_RUN_REFUSED && reason == SAMI_REASON_PROTOCOL && !was_bound)
        find(check, OLD, "", 0, TRUE);
    else if (how == SAMI_DRY_RUN_REFUSED)
        find_refusal(check, reason, quoted);
    else
        find(check, how == SAMI_DRY_RUN_NO_SESSION ? NO_SESSION : how == SAMI_DRY_RUN_SILENT ? NO_ANSWER : DISBELIEVED, quoted, 0, TRUE);
    if (check->has_dumped)
        finish(check);
    else if (check->dump)
        g_source_modify_unix_fd(check->source, check->tag, G_IO_IN);
    else
        start_dump(check);
}

static gboolean
open_peer(SamiCheck *check, GError **error)
{
    static const SamiDryRunOps ops = { on_bound, on_drained, on_answered, on_ended };
    if (check->peer && check->peer->receipts) {
        check->run = sami_dry_run_new(check->exporter, check->peer, check->vm, &ops, check, error);
        return check->run != NULL;
    }
    if (check->peer)
        find(check, PLAIN, "", 0, TRUE);
    start_dump(check);
    return TRUE;
}

gboolean
sami_check_attach(SamiExporter *exporter, guint32 request, int fd)
{
    for (guint i = 0; i < exporter->checks->len; i++) {
        SamiCheck *check = g_ptr_array_index(exporter->checks, i);
        if (check->run && !check->idle && sami_dry_run_attach(check->run, request, fd))
            return TRUE;
    }
    return FALSE;
}

/* --- the request --- */

static void
on_hangup(gpointer user_data)
{
    let_go(user_data);
}

/* What is outside vm-prefixes is a finding; what is no address is an error. */
static gboolean
read_vm(SamiCheck *check, JsonObject *request, GError **error)
{
    const SamiExporter *exporter = check->exporter;
    JsonArray *list = sami_control_json_array(request, "vm");
    guint n = list ? json_array_get_length(list) : 0;
    if (n > SAMI_VM_ADDRESSES_MAX) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "a VM has at most %u addresses or prefixes", SAMI_VM_ADDRESSES_MAX);
        return FALSE;
    }
    for (guint i = 0; i < n; i++) {
        SamiPrefix prefix;
        const gchar *text = json_array_get_string_element(list, i);
        if (!sami_prefix_parse(text ? text : "", &prefix, error))
            return FALSE;
        if (!sami_prefixes_cover(exporter->vm_prefixes, &prefix))
            find(check, VM_PREFIXES, text, 0, FALSE);
        g_array_append_val(check->vm, prefix);
    }
    return TRUE;
}

/* {"vm", "to", "zone", "vlan", "mark"}; without "vm" only this host is looked at. */
static gboolean
start(SamiCheck *check, JsonObject *request, GError **error)
{
    const gchar *to = sami_control_json_text(request, "to", "");
    if (!read_vm(check, request, error))
        return FALSE;
    if (*to && !(check->peer = sami_exporter_find_peer(check->exporter, to, error)))
        return FALSE;
    if (*to && check->vm->len == 0) {
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, "a check of a destination needs the VM's addresses");
        return FALSE;
    }
    if (!(check->firewall = sami_firewall_linux_new(error)))
        return FALSE;
    if (check->vm->len > 0 && !sami_vlan_select(check->exporter, request, &check->filter.has_zone, &check->filter.zone, error))
        return FALSE;
    check->filter.has_mark = json_object_has_member(request, "mark");
    check->filter.mark = (guint32) json_object_get_int_member_with_default(request, "mark", 0);
    check->filter.mark_mask = G_MAXUINT32;
    check->events_since_ns = sami_exporter_events_since(check->config);
    const SamiHostDaemon about = { check->config->key_log != NULL, !sami_daemon_is_sandboxed(check->config),
                                   sami_daemon_keeps_root(check->config), check->exporter->is_sandbox_partial };
    check->facts = sami_host_read(check->firewall, &about);
    sami_host_judge(check->facts, &check->needs, SAMI_HOST_SOURCE, on_host_finding, check);
    gboolean is_forbidden = has_found(check, kinds[VM_PREFIXES].id);
    if (check->vm->len == 0 || is_forbidden) {
        finish(check);
        return TRUE;
    }
    return open_peer(check, error);
}

void
sami_check_control(SamiExporter *exporter, SamiControlClient *client, JsonObject *request)
{
    g_autoptr(GError) error = NULL;
    SamiCheck *check = g_new0(SamiCheck, 1);
    check->exporter = exporter;
    check->config = sami_config_ref(exporter->config);
    check->vlans = sami_vlans_ref(exporter->vlans);
    check->client = sami_control_client_ref(client);
    check->vm = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    check->ignored = sami_ignore_new(check->config);
    check->found = g_array_new(FALSE, FALSE, sizeof(Found));
    check->examples = g_ptr_array_new_with_free_func(g_free);
    check->seen = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, NULL);
    sami_host_needs_init(&check->needs);
    g_ptr_array_add(exporter->checks, check);
    exporter->n_checks++;
    sami_control_client_on_hangup(client, on_hangup, check);
    if (!start(check, request, &error))
        fail(check, error);
}
