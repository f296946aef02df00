#include "replay/names.h"

#include "templates/validate.h"

/* Words of 0, 1, 2 …, or of bits 0, 1, 2 … */
static const gchar *const actions[] = { NULL, "created", "deleted", NULL, NULL, "update", NULL };
/* linux/netfilter/nf_conntrack_tcp.h, nf_conntrack_sctp.h, nf_conntrack_common.h */
static const gchar *const tcp_states[] = { "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2", NULL };
static const gchar *const sctp_states[] = { "NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT", NULL };
static const gchar *const status_bits[] = { "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED", "SRC_NAT", "DST_NAT", "SEQ_ADJUST", "SRC_NAT_DONE", "DST_NAT_DONE", "DYING",
                                            "FIXED_TIMEOUT", "TEMPLATE", "NAT_CLASH", "HELPER", "OFFLOAD", "HW_OFFLOAD", NULL };
static const gchar *const tcp_flag_bits[] = { "WINDOW_SCALE", "SACK_PERM", "CLOSE_INIT", "BE_LIBERAL", "DATA_UNACKNOWLEDGED", "MAXACK_SET", "CHALLENGE_ACK", "SIMULTANEOUS_OPEN", NULL };
static const gchar *const session_flag_bits[] = { "LATE", NULL };
static const gchar *const openings[] = { NULL, "new", "resume", "check", NULL };
static const gchar *const epoch_phases[] = { NULL, "begin", "end", NULL };
static const gchar *const markers[] = { NULL, "snapshot", "freeze", "settle", "thaw", "alive", NULL };
static const gchar *const aborts[] = { NULL, "operator", "deadline", "failure", NULL };
static const gchar *const phases[] = { NULL, "snapshot", "ready", "final", "aborted", "progress", "alive", "resync", "checked", NULL };
static const gchar *const freezes[] = { NULL, "events", "scan", NULL };
static const gchar *const scopes[] = { NULL, "message", "record", "degraded", NULL };
static const gchar *const severities[] = { NULL, "note", "warning", "loss", NULL };
static const gchar *const roles[] = { NULL, "exporter", "collector", "file", NULL };

static const struct {
    SamiElementId element;
    gboolean is_flags;
    const gchar *const *words;
    guint n;
} tables[] = {
#define ROW(element, is_flags, words) { SAMI_E_##element, is_flags, words, G_N_ELEMENTS(words) - 1 }
    ROW(FIREWALL_EVENT, FALSE, actions),     ROW(TCP_STATE, FALSE, tcp_states),        ROW(SCTP_STATE, FALSE, sctp_states),
    ROW(STATUS, TRUE, status_bits),          ROW(TCP_FLAGS, TRUE, tcp_flag_bits),      ROW(TCP_FLAGS_R, TRUE, tcp_flag_bits),
    ROW(SESSION_FLAGS, TRUE, session_flag_bits), ROW(OPENING, FALSE, openings),        ROW(EPOCH_PHASE, FALSE, epoch_phases),
    ROW(MARKER, FALSE, markers),             ROW(ABORT_REASON, FALSE, aborts),         ROW(RECEIPT_PHASE, FALSE, phases),
    ROW(FREEZE_MODE, FALSE, freezes),        ROW(REFUSAL_SCOPE, FALSE, scopes),        ROW(SEVERITY, FALSE, severities),
    ROW(SIG_ROLE, FALSE, roles),
#undef ROW
};

const gchar *
replay_word(SamiElementId element, guint64 value)
{
    if (element == SAMI_E_REASON)
        return value < G_MAXUINT && sami_reason_is_known((guint) value) ? sami_reason_id((guint) value) : NULL;
    if (element == SAMI_E_PROTOCOL || element == SAMI_E_MASTER_PROTOCOL)
        return value < 256 ? sami_protocol_name((guint8) value) : NULL;
    if (element == SAMI_E_RECORD_KIND || element == SAMI_E_COUNTED_KIND)
        return value < SAMI_N_RECORD_KINDS && sami_kinds[value].n_fields ? replay_kind_name((SamiRecordKind) value) : NULL;
    for (guint i = 0; i < G_N_ELEMENTS(tables); i++)
        if (tables[i].element == element && !tables[i].is_flags)
            return value < tables[i].n ? tables[i].words[value] : NULL;
    return NULL;
}

void
replay_append_flags(GString *out, SamiElementId element, guint64 value)
{
    gsize before = out->len;
    for (guint i = 0; i < G_N_ELEMENTS(tables); i++) {
        if (tables[i].element != element || !tables[i].is_flags)
            continue;
        for (guint bit = 0; bit < tables[i].n; bit++)
            if (value >> bit & 1)
                g_string_append_printf(out, "%s%s", out->len > before ? "," : "", tables[i].words[bit]);
    }
}

void
replay_append_words(GString *out, const ReplayField *field, guint64 value)
{
    const SamiRegistryElement *e = &field->element;
    for (guint i = 0; i < SAMI_N_ELEMENTS; i++) {
        if (sami_elements[i].pen != e->pen || sami_elements[i].number != e->number)
            continue;
        const gchar *word = replay_word(i, value);
        g_autoptr(GString) flags = g_string_new(NULL);
        replay_append_flags(flags, i, value);
        if (word || flags->len)
            g_string_append_printf(out, " (%s)", word ? word : flags->str);
        return;
    }
}

const gchar *
replay_kind_name(SamiRecordKind kind)
{
    return kind == SAMI_RECORD_VM_ADDRESS4 || kind == SAMI_RECORD_VM_ADDRESS6 ? "vm-address" : sami_kinds[kind].name;
}

const gchar *
replay_record_name(const ReplayRecord *record)
{
    if (record->ours)
        return replay_kind_name(record->ours->kind);
    if (record->message->is_signed && record->tmpl->id == SAMI_TEMPLATE_SIGNATURE)
        return "signature";
    return record->tmpl->n_scope ? "foreign-options" : "foreign";
}
