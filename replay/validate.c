/* validate: every rule of RFC 7011, of signatures and sessions (PROTOCOL §2), and of records; a report a Message. What a signer's policy would let
 * in is asked of `inject --dry-run`. */
#include <string.h>

#include "replay/keys.h"
#include "replay/names.h"
#include "replay/strict.h"
#include "replay/value.h"
#include "templates/rules.h"

#define FINDINGS_SHOWN 20u /* of a Message; the rest is counted */
#define CHECKSUM_ELEMENT 262u /* messageMD5Checksum, RFC 5655 §8.1.1 */

/* One direction of a Transport Session. */
typedef struct {
    ReplayStrict *strict; /* NULL: nothing of it is signed, or it was broken, see is_broken */
    gboolean is_broken;   /* a Message was refused: those behind it are judged by their signatures only */
    gboolean is_unsigned, is_unknown; /* said already */
    gboolean has_last;
    guint32 export_time;
    guint64 end; /* offset behind its last Message */
} Session;

typedef struct {
    Replay *replay;
    ReplayKeys *keys;
    const gchar *path;
    ReplayProgress progress;
    GHashTable *sessions; /* input session << 32 | domain -> Session */
    GPtrArray *findings;  /* of this Message: text */
    guint n_findings, n_records, n_losses;
    gsize checksum_at;    /* in this Message; 0: none */
    guint64 n_messages, n_good, n_unsigned, n_bad_messages, n_all_records, n_all_findings, n_all_losses, n_outside;
} Validation;

static void
session_free(gpointer data)
{
    replay_strict_free(((Session *) data)->strict);
    g_free(data);
}

static Session *
get_session(Validation *v, const ReplayMessage *m)
{
    guint64 key = (guint64) m->input.session << 32 | m->domain;
    Session *session = g_hash_table_lookup(v->sessions, &key);
    if (session)
        return session;
    if (g_hash_table_size(v->sessions) >= REPLAY_SOURCES_MAX) /* a capture closes its own; a file with more domains than this is not ours */
        g_hash_table_remove_all(v->sessions);
    session = g_new0(Session, 1);
    g_hash_table_insert(v->sessions, g_memdup2(&key, sizeof key), session);
    return session;
}

static void G_GNUC_PRINTF(2, 3)
find(Validation *v, const gchar *format, ...)
{
    va_list args;
    v->n_findings++;
    if (v->findings->len >= FINDINGS_SHOWN)
        return;
    va_start(args, format);
    g_ptr_array_add(v->findings, g_strdup_vprintf(format, args));
    va_end(args);
}

static void
find_broken(Validation *v, gsize within, SamiRule rule, const gchar *what)
{
    g_autofree gchar *text = sami_rule_say(rule, "%s", what);
    find(v, "octet %zu: %s", within, text);
}

/* --- records --- */

/* Everything that any signer could be allowed. */
static SamiReason
judge_session(const SamiSession *s)
{
    static const SamiPrefix all[] = { { .family = 4 }, { .family = 6 } };
    const guint16 zones[] = { s->key.zone, s->reply_zone };
    const SamiPolicy policy = { .vm = all, .n_vm = 2, .nat_addresses = all, .n_nat_addresses = 2, .zones = zones, .n_zones = 2, .vlans = &s->vlan,
                                .n_vlans = 1, .may_help = TRUE };
    return sami_validate_session(s, &policy);
}

static SamiReason
judge_expectation(const SamiExpectation *e)
{
    static const SamiPrefix all[] = { { .family = 4 }, { .family = 6 } };
    const SamiPolicy policy = { .vm = all, .n_vm = 2, .nat_addresses = all, .n_nat_addresses = 2, .zones = &e->key.zone, .n_zones = 1,
                                .vlans = &e->vlan, .n_vlans = 1, .may_help = TRUE };
    return sami_validate_expectation(e, &policy);
}

static void
find_checksum(Validation *v, const ReplayRecord *record)
{
    ReplayWalk walk = REPLAY_WALK(record);
    ReplayValue value;
    while (record->tmpl->n_scope && replay_walk(&walk, &value))
        if (value.field->element.pen == 0 && value.field->element.number == CHECKSUM_ELEMENT && value.length == 16) {
            if (v->checksum_at)
                find_broken(v, record->offset, SAMI_RULE_CHECKSUM, "a second message checksum");
            v->checksum_at = (gsize) (value.octets - record->message->input.octets);
        }
}

static void
on_record(const ReplayRecord *record, gpointer user_data)
{
    Validation *v = user_data;
    const SamiRecord *ours = record->ours;
    v->n_records++;
    if (!ours) {
        find_checksum(v, record);
        return;
    }
    SamiReason reason = ours->kind == SAMI_RECORD_SESSION       ? judge_session(&ours->session)
                        : ours->kind == SAMI_RECORD_EXPECTATION ? judge_expectation(&ours->expectation)
                                                                : SAMI_REASON_NONE;
    if (reason == SAMI_REASON_NONE)
        return;
    g_autofree gchar *flow = sami_flow_key_to_string(ours->kind == SAMI_RECORD_SESSION ? &ours->session.key : &ours->expectation.key);
    find(v, "octet %zu: %s: %s: %s", record->offset, flow, sami_reason_id(reason), sami_reason_text(reason));
}

/* --- Messages --- */

static void
on_message(const ReplayMessage *message, gpointer user_data)
{
    Validation *v = user_data;
    g_ptr_array_set_size(v->findings, 0);
    v->n_findings = v->n_records = v->n_losses = 0;
    v->checksum_at = 0;
    v->n_messages++;
}

static void
on_fault(const ReplayFault *fault, gpointer user_data)
{
    Validation *v = user_data;
    if (!fault->message) {
        v->n_outside++;
        if (v->replay->args.is_json) {
            g_autoptr(GString) out = g_string_new("{\"file\":");
            replay_json_string(out, v->path, strlen(v->path));
            g_string_append_printf(out, ",\"offset\":%" G_GUINT64_FORMAT ",\"ok\":false,\"findings\":[", fault->offset);
            replay_json_string(out, fault->text, strlen(fault->text));
            printf("%s]}\n", out->str);
        } else {
            replay_say(stdout, &v->progress, "%s: at %" G_GUINT64_FORMAT ": %s\n", v->path, fault->offset, fault->text);
        }
        return;
    }
    v->n_losses += fault->is_loss;
    find(v, "octet %zu: %s", fault->within, fault->text);
}

static void
ignore_record(const SamiRecord *record, gpointer user_data)
{
}

/* RFC 5655 §8.1.1: MD5 over the Message with the field itself zero. */
static void
check_checksum(Validation *v, const ReplayMessage *m)
{
    static const guint8 zeros[16];
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_MD5);
    guint8 digest[16];
    gsize length = sizeof digest;
    if (!v->checksum_at)
        return;
    g_checksum_update(sum, m->input.octets, (gssize) v->checksum_at);
    g_checksum_update(sum, zeros, sizeof zeros);
    g_checksum_update(sum, m->input.octets + v->checksum_at + 16, (gssize) (m->input.length - v->checksum_at - 16));
    g_checksum_get_digest(sum, digest, &length);
    if (memcmp(digest, m->input.octets + v->checksum_at, 16) != 0)
        find_broken(v, v->checksum_at, SAMI_RULE_CHECKSUM, "the message checksum is wrong");
}

static void
check_unsigned(Validation *v, Session *session)
{
    v->n_unsigned++;
    if (session->strict || session->is_broken)
        find(v, "%s: %s", sami_reason_id(SAMI_REASON_NOT_SIGNED), sami_reason_text(SAMI_REASON_NOT_SIGNED));
    else if (!session->is_unsigned && !v->replay->args.is_unsigned_fine)
        find(v, "%s: nothing here says who made it (--unsigned: let that be)", sami_reason_id(SAMI_REASON_NOT_SIGNED));
    session->is_unsigned = TRUE;
}

/* After a Message that was refused nothing says where the session stands; each one's signature still says who made it. */
static void
check_by_itself(Validation *v, const ReplayMessage *m)
{
    const ReplayKey *key;
    ReplayVerdict verdict = replay_keys_judge(v->keys, m, &key);
    if (verdict == REPLAY_BAD_SIGNATURE)
        find(v, "%s: %s", sami_reason_id(SAMI_REASON_BAD_SIGNATURE), sami_reason_text(SAMI_REASON_BAD_SIGNATURE));
    v->n_good += verdict == REPLAY_GOOD;
}

static void
check_signed(Validation *v, Session *session, const ReplayMessage *m)
{
    SamiReason reason = SAMI_REASON_NONE;
    g_autoptr(GError) error = NULL;
    if (session->is_broken) {
        check_by_itself(v, m);
        return;
    }
    if (session->is_unsigned)
        find(v, "%s: a signed Message after unsigned ones", sami_reason_id(SAMI_REASON_PROTOCOL));
    if (!session->strict)
        session->strict = replay_strict_new(v->keys);
    if (!replay_strict_message(session->strict, &m->input, TRUE, ignore_record, NULL, &reason, &error)) {
        find(v, "%s: %s; Messages behind it are judged by their signatures only", sami_reason_id(reason), error->message);
        g_clear_pointer(&session->strict, replay_strict_free);
        session->is_broken = TRUE;
        return;
    }
    v->n_good += replay_strict_key(session->strict) != NULL;
    if (!replay_strict_key(session->strict) && !session->is_unknown) {
        gchar id[SAMI_KEY_ID_TEXT];
        find(v, "%s: the key %s is not known here (signers.d, peers.d, --key): its signatures prove nothing", sami_reason_id(SAMI_REASON_UNKNOWN_SIGNER),
             sami_key_id_text(m->signature.key_id, id));
        session->is_unknown = TRUE;
    }
    session->has_last = (m->signature.flags & SAMI_SIGNATURE_LAST) != 0;
}

static void
report_json(const Validation *v, const Session *session, const ReplayMessage *m)
{
    g_autoptr(GString) out = g_string_new("{\"file\":");
    const ReplayKey *key = session->strict && m->is_signed ? replay_strict_key(session->strict) : NULL;
    replay_json_string(out, v->path, strlen(v->path));
    g_string_append_printf(out, ",\"message\":%" G_GUINT64_FORMAT ",\"offset\":%" G_GUINT64_FORMAT ",\"ok\":%s,\"records\":%u,\"signed\":%s", m->number,
                           m->input.offset, v->n_findings ? "false" : "true", v->n_records, m->is_signed ? "true" : "false");
    if (key) {
        g_string_append(out, ",\"signer\":");
        replay_json_string(out, key->name, strlen(key->name));
    }
    g_string_append(out, ",\"findings\":[");
    for (guint i = 0; i < v->findings->len; i++) {
        g_string_append(out, i ? "," : "");
        replay_json_string(out, v->findings->pdata[i], strlen(v->findings->pdata[i]));
    }
    printf("%s],\"more\":%u}\n", out->str, v->n_findings - v->findings->len);
}

static void
report(Validation *v, const Session *session, const ReplayMessage *m)
{
    const ReplayKey *key = session->strict && m->is_signed ? replay_strict_key(session->strict) : NULL;
    const gchar *signer = key ? key->name : m->is_signed ? "a key that is not known" : "";
    if (!v->n_findings && !v->replay->args.is_quiet)
        replay_say(stdout, &v->progress, "%s: Message %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT ": ok, %u records%s%s\n", v->path, m->number,
                   m->input.offset, v->n_records, m->is_signed ? ", signed by " : ", unsigned", signer);
    for (guint i = 0; i < v->findings->len; i++)
        replay_say(stdout, &v->progress, "%s: Message %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT ": %s\n", v->path, m->number, m->input.offset,
                   (const gchar *) v->findings->pdata[i]);
    if (v->n_findings > v->findings->len)
        replay_say(stdout, &v->progress, "%s: Message %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT ": and %u more\n", v->path, m->number, m->input.offset,
                   v->n_findings - v->findings->len);
}

static void
on_end(const ReplayMessage *m, gpointer user_data)
{
    Validation *v = user_data;
    Session *session = get_session(v, m);
    check_checksum(v, m);
    if (m->is_signed)
        check_signed(v, session, m);
    else
        check_unsigned(v, session);
    if (m->export_time < session->export_time) {
        g_autofree gchar *what = g_strdup_printf("Export Time %u is before that of an earlier Message, %u", m->export_time, session->export_time);
        find_broken(v, 4, SAMI_RULE_EXPORT_TIME, what);
    }
    session->export_time = MAX(session->export_time, m->export_time);
    session->end = m->input.offset + m->input.length;
    v->n_bad_messages += v->n_findings > 0;
    v->n_all_findings += v->n_findings;
    v->n_all_losses += v->n_losses;
    v->n_all_records += v->n_records;
    if (v->replay->args.is_json)
        report_json(v, session, m);
    else
        report(v, session, m);
}

static gboolean
is_session(gpointer key, gpointer value, gpointer user_data)
{
    return *(guint64 *) key >> 32 == GPOINTER_TO_UINT(user_data);
}

static void
on_closed(guint32 session, gpointer user_data)
{
    Validation *v = user_data;
    g_hash_table_foreach_remove(v->sessions, is_session, GUINT_TO_POINTER(session));
}

/* --- summary --- */

/* A signed session that does not end in its last Message was cut, or goes on in another file. */
static guint
count_open(const Validation *v)
{
    GHashTableIter iter;
    gpointer value;
    guint n = 0;
    g_hash_table_iter_init(&iter, v->sessions);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        n += ((Session *) value)->strict && !((Session *) value)->has_last;
    return n;
}

/* What was recorded has no other file to go on in. */
static void
find_cut(Validation *v)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, v->sessions);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const Session *session = value;
        const ReplayFault cut = { NULL, session->end, 0, FALSE, REPLAY_STRICT_CUT };
        if (session->strict && replay_strict_is_cut(session->strict))
            on_fault(&cut, v);
    }
}

static void
summarize(Validation *v, const gchar *path)
{
    guint n_open = count_open(v);
    if (v->replay->args.is_json) {
        g_autoptr(GString) out = g_string_new("{\"file\":");
        replay_json_string(out, path, strlen(path));
        printf("%s,\"summary\":true,\"messages\":%" G_GUINT64_FORMAT ",\"records\":%" G_GUINT64_FORMAT ",\"verified\":%" G_GUINT64_FORMAT
               ",\"unsigned\":%" G_GUINT64_FORMAT ",\"broken\":%" G_GUINT64_FORMAT ",\"findings\":%" G_GUINT64_FORMAT ",\"outside\":%" G_GUINT64_FORMAT
               ",\"open\":%u}\n",
               out->str, v->n_messages, v->n_all_records, v->n_good, v->n_unsigned, v->n_bad_messages, v->n_all_findings, v->n_outside, n_open);
        return;
    }
    replay_say(stdout, NULL, "%s: %" G_GUINT64_FORMAT " Messages, %" G_GUINT64_FORMAT " records; %" G_GUINT64_FORMAT " Messages verified, %" G_GUINT64_FORMAT
               " unsigned; %" G_GUINT64_FORMAT " with findings\n",
               path, v->n_messages, v->n_all_records, v->n_good, v->n_unsigned, v->n_bad_messages);
    if (n_open)
        replay_say(stdout, NULL, "%s: %u session%s not end here in a Message that is marked as the last one\n", path, n_open, n_open == 1 ? " does" : "s do");
}

static void
validation_clear(Validation *v)
{
    g_clear_pointer(&v->keys, replay_keys_free);
    g_clear_pointer(&v->sessions, g_hash_table_unref);
    g_clear_pointer(&v->findings, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Validation, validation_clear)

SamiExit
replay_validate(Replay *replay, GError **error)
{
    static const ReplayHandlers handlers = { .message = on_message, .record = on_record, .fault = on_fault, .end = on_end, .closed = on_closed };
    gboolean is_broken = FALSE;
    for (guint i = 0; replay->args.operands[i]; i++) {
        guint64 n_faults;
        g_auto(Validation) v = { .replay = replay, .path = replay->args.operands[i] };
        v.sessions = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, session_free);
        v.findings = g_ptr_array_new_with_free_func(g_free);
        if (!(v.keys = replay_keys_load(replay, error)) ||
            !replay_read(replay, replay->args.operands[i], &handlers, &v, NULL, &v.progress, &n_faults, NULL, error))
            return SAMI_EXIT_FAILED;
        find_cut(&v);
        summarize(&v, replay->args.operands[i]);
        is_broken |= v.n_all_findings > 0 || v.n_outside > 0;
    }
    return is_broken ? REPLAY_EXIT_BROKEN : SAMI_EXIT_DONE;
}
