/* What a migration looks like to the operator. */
#include "ctl/ctl.h"

#include <string.h>

#include "common/control-json.h"

/* Reason -> what it means for the connection, and what to do; ids are those of the daemons' table
 * of reasons. */
typedef struct {
    const gchar *reason;
    const gchar *consequence;
    const gchar *remedy;
} Remedy;

static const Remedy remedies[] = {
    {"unknown-signer", "nothing was accepted",
     "at the destination: samictl peer add OUR.peer --receive --allow PREFIXES, then reload its collector"},
    {"not-signed", "nothing was accepted", "check that both sides run the same version"},
    {"bad-signature", "nothing was accepted",
     "the signing key there is not ours: exchange the peer files again"},
    {"tls-name", "nothing was accepted", "add our TLS name to tls-names in signers.d there"},
    {"destination-name", "nothing was accepted",
     "the peer's name= differs from --to: compare `samictl peer list` on both sides"},
    {"pen-mismatch", "nothing was accepted", "both builds need the same --with-pen"},
    {"too-late", "nothing was accepted",
     "the link held messages back: check it, or raise max-delay there"},
    {"not-owner", "nothing was changed",
     "the migration belongs to another firewall: start a new one"},
    {"already-ready", "nothing was rolled back",
     "the VM may run at the destination: see `samictl status` there"},
    {"limit", "the migration was not started",
     "wait for others to end, resolve those in doubt there, or raise max-migrations or peer-sessions there"},
    {"journal", "nothing was accepted", "free space in journal-dir there, or set journal=false"},
    {"vm-not-allowed", "nothing was accepted",
     "add the VM's address to allow-prefixes in signers.d there"},
    {"not-expected", "nothing was accepted",
     "announce the VM there with the command above, or set require-expect=false in signers.d there"},
    {"resume-unavailable", "the migration ended", "start it again"},
    {"replayed-migration", "nothing was accepted", "start it again"},
    {"address-not-allowed", "these connections break",
     "add the address to allow-prefixes in signers.d there"},
    {"nat-address", "these connections break",
     "add the translated address to nat-addresses in signers.d there"},
    {"address-special", "these connections stay here",
     "link-local and loopback sessions cannot move"},
    {"tuple-inconsistent", "these connections break",
     "report it with `samictl stats` of both sides"},
    {"state-range", "these connections break", "check that both kernels are supported"},
    {"field-missing", "these connections break", "check that both sides run the same version"},
    {"protocol-unsupported", "these connections break",
     "this version moves TCP, UDP and ICMP only"},
    {"zone-not-allowed", "these connections break", "add the zone to zones in signers.d there"},
    {"vlan-unknown", "these connections break", "add the VLAN and its zone to vlans in sami.conf there"},
    {"vlan-not-allowed", "these connections break", "add the VLAN to vlans in signers.d there"},
    {"zone-of-vlan", "these connections break", "add the VLAN and its zone to vlans in sami.conf here"},
    {"map-clash", "these connections break", "map-addresses in signers.d there has no one-to-one place for their addresses"},
    {"max-sessions", "these connections break",
     "raise max-sessions, or net.netfilter.nf_conntrack_max there"},
    {"not-ours", "the entry there was left alone",
     "none needed if that connection is the destination's own"},
    {"nat-mismatch", "the entry there was left alone",
     "both sides translated the flow: let only one of them do it"},
    {"nat-clash", "these connections break",
     "another flow has the public port there: use disjoint port ranges"},
    {"table-full", "these connections break", "raise net.netfilter.nf_conntrack_max there"},
    {"chain-too-long", "these connections break", "raise net.netfilter.nf_conntrack_buckets there"},
    {"owned", "these connections stay with the other migration", "end it first: samictl status"},
    {"kernel", "these connections break", "see the destination's log"},
    {"unverified", "these connections may break", "see `samictl status` there"},
    {"labels-lost", "connections go on, without their labels",
     "load a rule that uses labels there"},
    {"nat-not-applied", "these connections break", "load a nat base chain there before migrating, or set nat-elsewhere=true there where something else translates"},
    {"timeout-differs", "connections go on, with another timeout", "none needed"},
    {"differs", "connections go on, with another state or mark", "see `samictl status` there"},
    {"signer-not-valid", "nothing was accepted", "look at valid-from and valid-until in signers.d there, and at both clocks"},
    {"max-migrations", "the migration was not started", "wait for others to end, or raise max-migrations in signers.d there"},
    {"protocol-not-allowed", "these connections break", "add the protocol to protocols in signers.d there"},
    {"port-not-allowed", "these connections break", "add the port to ports, or remote-ports, in signers.d there"},
    {"address-own", "these connections stay here",
     "sessions of the firewall itself cannot move; where one is translated, add the address to nat-addresses in signers.d there"},
    {"helper-not-allowed", "connections go on, and what their helper expects does not", "add it to helpers in signers.d there"},
    {"max-expectations", "connections go on, and what their helper expects does not", "raise max-expectations in signers.d there"},
    {"max-elements", "the elements stay here", "raise max-elements in signers.d there"},
    {"mark-cut", "connections go on, without these bits of their mark", "add them to mark-mask in signers.d there"},
    {"labels-cut", "connections go on, without these labels", "add them to labels in signers.d there"},
    {"timeout-clamped", "connections go on, with the longest timeout that there is there",
     "give both firewalls the same nf_conntrack timeouts, or set long-timeouts=true in signers.d there"},
    {"no-helper", "connections go on, without their helper",
     "add expectation to kinds, and the helper to helpers, in signers.d there, and load the helper's module, e.g. modprobe nf_conntrack_ftp"},
};

typedef struct {
    SamiExit code;
    const gchar *meaning;
    const gchar *next; /* %s: id */
} Outcome;

static const Outcome outcomes[] = {
    {SAMI_EXIT_FAILED, "failed", "journalctl -u sami-exporter -n 50"},
    {SAMI_EXIT_REFUSED, "refused by the peer",
     "samictl peer list    (here and at the peer), then try again"},
    {SAMI_EXIT_ABORTED, "aborted and rolled back; the VM's sessions are still here",
     "samictl migrate … when the cause is gone"},
    {SAMI_EXIT_LATE, "late: not READY within the deadline; nothing was rolled back",
     "samictl status %s    then resume the VM and lose what is missing, or: samictl abort %s"},
    {SAMI_EXIT_IN_DOUBT,
     "in doubt: the connection was lost after READY, so the VM may already run at the peer",
     "samictl status %s    (at the peer too)"},
    {SAMI_EXIT_UNCONFIRMED, "sent, but the peer is a plain collector and confirms nothing",
     "check the collector's own log"},
};

const gchar *
ctl_string(JsonObject *object, const gchar *member)
{
    JsonNode *node = object ? json_object_get_member(object, member) : NULL;
    const gchar *text = node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
    return text ? text : "";
}

gint64
ctl_int(JsonObject *object, const gchar *member)
{
    JsonNode *node = object ? json_object_get_member(object, member) : NULL;
    return node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_int(node) : 0;
}

JsonObject *
ctl_object(JsonObject *object, const gchar *member)
{
    JsonNode *node = object ? json_object_get_member(object, member) : NULL;
    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

JsonArray *
ctl_array(JsonObject *object, const gchar *member)
{
    return object ? sami_control_json_array(object, member) : NULL;
}

static gint64
sum_reasons(JsonObject *reasons)
{
    g_autoptr(GList) names = reasons ? json_object_get_members(reasons) : NULL;
    gint64 sum = 0;
    for (GList *at = names; at; at = at->next)
        sum += ctl_int(reasons, at->data);
    return sum;
}

/* ", 3 degraded (no-helper 2, differs 1)"; nothing for none. */
static void
append_reasons(GString *text, const gchar *what, JsonObject *reasons)
{
    g_autoptr(GList) names = reasons ? json_object_get_members(reasons) : NULL;
    if (sum_reasons(reasons) == 0)
        return;
    g_string_append_printf(text, ", %" G_GINT64_FORMAT " %s (", sum_reasons(reasons), what);
    for (GList *at = names; at; at = at->next) {
        g_string_append_printf(text, "%s%s", at == names ? "" : ", ", (const gchar *)at->data);
        if (names->next)
            g_string_append_printf(text, " %" G_GINT64_FORMAT, ctl_int(reasons, at->data));
    }
    g_string_append_c(text, ')');
}

static gchar *
print_outcome_counts(JsonObject *counts)
{
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "%" G_GINT64_FORMAT " exact, %" G_GINT64_FORMAT " merged",
                           ctl_int(counts, "exact"), ctl_int(counts, "merged"));
    append_reasons(text, "degraded", ctl_object(counts, "degraded"));
    append_reasons(text, "refused", ctl_object(counts, "refused"));
    return g_string_free(text, FALSE);
}

/* " WHAT 2.1 ms", or nothing. (transfer full) */
static gchar *
print_time(JsonObject *event, const gchar *member, const gchar *what)
{
    JsonNode *node = json_object_get_member(event, member);
    return node && JSON_NODE_HOLDS_VALUE(node)
               ? g_strdup_printf("%s %.1f ms", what, json_node_get_double(node))
               : g_strdup("");
}

static gchar *
describe(JsonObject *event)
{
    JsonObject *counts = ctl_object(event, "counts");
    const gchar *phase = ctl_string(event, "phase"), *peer = ctl_string(event, "peer");
    gboolean is_confirmed = ctl_int(event, "confirmed_snapshot") != 0;
    gint64 sent = ctl_int(counts, "sent"), dirty = ctl_int(counts, "dirty");
    if (!strcmp(phase, "PREPARE"))
        return g_strdup_printf("%s", peer);
    if (!strcmp(phase, "FOLLOW"))
        return g_strdup_printf("%" G_GINT64_FORMAT " sent  %" G_GINT64_FORMAT " dirty  %s   (%s)",
                               sent, dirty, peer,
                               is_confirmed ? "VM still runs; waiting for the pause"
                                            : "VM still runs; snapshot on its way");
    if (!strcmp(phase, "FREEZE"))
        return g_strdup_printf("%" G_GINT64_FORMAT " sent  %" G_GINT64_FORMAT " dirty", sent,
                               dirty);
    if (!strcmp(phase, "READY")) {
        /* How many are exact is known after the read-back. */
        g_autofree gchar *blackout = print_time(event, "freeze_ready_ms", "    freeze to ready");
        g_autoptr(GString) text = g_string_new(NULL);
        g_string_append_printf(text, "%" G_GINT64_FORMAT "/%" G_GINT64_FORMAT " in kernel",
                               ctl_int(counts, "confirmed"), ctl_int(event, "total"));
        if (ctl_int(counts, "merged") > 0)
            g_string_append_printf(text, ", %" G_GINT64_FORMAT " of them merged",
                                   ctl_int(counts, "merged"));
        append_reasons(text, "degraded", ctl_object(counts, "degraded"));
        append_reasons(text, "refused", ctl_object(counts, "refused"));
        g_string_append_printf(text, "; the VM may be resumed at %s%s", peer, blackout);
        return g_strdup(text->str);
    }
    if (!strcmp(phase, "SETTLE"))
        return g_strdup("reading back");
    return g_strdup(peer);
}

void
ctl_print_phase(JsonObject *event)
{
    g_autofree gchar *text = describe(event);
    ctl_say(stdout, "%.4s  %-7s %s\n", ctl_string(event, "id"), ctl_string(event, "phase"), text);
    fflush(stdout);
}

#define BAR_WIDTH 30

void
ctl_print_progress(JsonObject *event)
{
    JsonObject *counts = ctl_object(event, "counts");
    gint64 total = MAX(ctl_int(event, "total"), 0), ms = ctl_int(event, "elapsed_ms");
    gint64 confirmed = ctl_int(counts, "confirmed"), sent = ctl_int(counts, "sent");
    gint64 dirty = ctl_int(counts, "dirty");
    const gchar *phase = ctl_string(event, "phase");
    g_autofree gchar *blackout = print_time(event, "blackout_ms", "  paused for");
    gint n_full = total > 0 ? (gint)(MIN(MAX(confirmed, 0), total) * BAR_WIDTH / total) : 0;
    gchar bar[BAR_WIDTH + 1] = "";
    memset(bar, '#', (gsize)n_full);
    memset(bar + n_full, '-', (gsize)(BAR_WIDTH - n_full));
    ctl_clear_progress();
    /* The total is known when the dump has ended; the rate means something until then only. */
    if (!strcmp(phase, "PREPARE"))
        ctl_say(stdout, "%.4s  %-7s %" G_GINT64_FORMAT " sent  %" G_GINT64_FORMAT "/s",
                ctl_string(event, "id"), phase, sent, ms > 0 ? sent * 1000 / ms : 0);
    else
        ctl_say(stdout,
                "%.4s  %-7s [%s] %" G_GINT64_FORMAT "/%" G_GINT64_FORMAT "  %" G_GINT64_FORMAT
                " dirty%s",
                ctl_string(event, "id"), phase, bar, confirmed, total, dirty, blackout);
    fflush(stdout);
}

void
ctl_clear_progress(void)
{
    fputs("\r\033[K", stdout);
}

static const Remedy *
find_remedy(const gchar *reason)
{
    for (guint i = 0; i < G_N_ELEMENTS(remedies); i++)
        if (!strcmp(remedies[i].reason, reason))
            return &remedies[i];
    return NULL;
}

const gchar *
ctl_remedy(const gchar *reason, const gchar **ret_consequence)
{
    const Remedy *remedy = find_remedy(reason);
    if (!remedy)
        return NULL;
    *ret_consequence = remedy->consequence;
    return remedy->remedy;
}

static void
print_remedies(const gchar *what, JsonObject *reasons)
{
    g_autoptr(GList) names = reasons ? json_object_get_members(reasons) : NULL;
    for (GList *at = names; at; at = at->next) {
        const Remedy *remedy = find_remedy(at->data);
        if (ctl_int(reasons, at->data) == 0)
            continue;
        ctl_say(stderr, "%s %s: %" G_GINT64_FORMAT "  %s\n      fix: %s\n", what,
                (const gchar *)at->data, ctl_int(reasons, at->data),
                remedy ? remedy->consequence : "these connections may break",
                remedy ? remedy->remedy : "see `samictl stats` on both sides");
    }
}

/* Says which failure it was, why, and what to run next. */
static void
print_failure(JsonObject *answer, SamiExit code)
{
    const gchar *id = ctl_string(answer, "id"), *why = ctl_string(answer, "error");
    /* A refusal of the whole is "PEER refused: REASON: DETAIL". */
    const gchar *mark = strstr(why, " refused: ");
    const gchar *begin = mark ? mark + strlen(" refused: ") : why;
    g_autofree gchar *reason = g_strndup(begin, strcspn(begin, ": "));
    const Remedy *remedy = find_remedy(reason);
    for (guint i = 0; i < G_N_ELEMENTS(outcomes); i++) {
        if (outcomes[i].code != code)
            continue;
        g_auto(GStrv) pieces = g_strsplit(outcomes[i].next, "%s", -1);
        g_autofree gchar *short_id = g_strndup(id, 8);
        g_autofree gchar *next = g_strjoinv(*id ? short_id : "ID", pieces);
        ctl_say(stderr, "samictl: %s%s%s\n", outcomes[i].meaning, *why ? ": " : "", why);
        if (remedy)
            ctl_say(stderr, "      %s\n      fix: %s\n", remedy->consequence, remedy->remedy);
        ctl_say(stderr, "      next: %s\n", next);
        return;
    }
    ctl_say(stderr, "samictl: %s\n", *why ? why : "failed");
}

SamiExit
ctl_print_result(JsonObject *answer, gboolean is_quiet)
{
    JsonObject *counts = ctl_object(answer, "counts");
    SamiExit code = (SamiExit)ctl_int(answer, "exit");
    gint64 not_vm_end = ctl_int(counts, "not_vm_end");
    /* What was rolled back has no outcome. */
    gboolean has_outcome =
        counts && json_object_has_member(counts, "exact") && code != SAMI_EXIT_ABORTED;
    if (!is_quiet && *ctl_string(answer, "phase") &&
        (has_outcome || json_object_has_member(answer, "freeze_ready_ms"))) {
        g_autofree gchar *outcome = has_outcome ? print_outcome_counts(counts) : g_strdup("");
        JsonNode *freeze = json_object_get_member(answer, "freeze_ready_ms");
        ctl_say(stdout, "%.4s  %-7s %s", ctl_string(answer, "id"), ctl_string(answer, "phase"),
                outcome);
        if (freeze && JSON_NODE_HOLDS_VALUE(freeze))
            ctl_say(stdout, "    freeze to ready %.1f ms (%s)", json_node_get_double(freeze),
                    ctl_string(answer, "freeze"));
        if (json_object_has_member(answer, "elapsed_ms"))
            ctl_say(stdout, "    in %.1f s", (gdouble)ctl_int(answer, "elapsed_ms") / 1000);
        ctl_say(stdout, "\n");
        if (not_vm_end > 0)
            ctl_say(stdout,
                    "      %" G_GINT64_FORMAT
                    " sessions name the VM's address but are not its own end; they were not sent\n",
                    not_vm_end);
        fflush(stdout);
    }
    if (code != SAMI_EXIT_DONE && code != SAMI_EXIT_DEGRADED)
        print_failure(answer, code);
    print_remedies("refused", ctl_object(counts, "refused"));
    print_remedies("degraded", ctl_object(counts, "degraded"));
    return code;
}
