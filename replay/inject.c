/* inject: recorded Messages into this kernel's connection tracking, as a collector would take them (PROTOCOL §2, §4), but from a file. */
#include "replay/inject.h"

#include <string.h>

#include "common/cursor.h"
#include "common/value.h"
#include "firewall/host.h"
#include "replay/namespace.h"
#include "replay/order.h"

#define TARGETS_MAX 1024u /* migrations in the inputs of one run: each has a ledger */

/* One Transport Session of the file that is being read. */
typedef struct {
    Inject *inject;
    ReplayStrict *strict;
    ReplayTarget *target;    /* (nullable) (transfer none) */
    GArray *vm;              /* of SamiPrefix: of the begin that follows */
    SamiSignature signature; /* of the Message that is being read; of an unsigned one only an id of our own */
    gboolean is_signed, is_stopped;
    gboolean is_wanted;      /* the Message that is being read, by migration and time */
    guint32 age_s;           /* of the Message that is being read */
    guint64 n_unread;
    guint64 end;             /* offset behind the Message that was read last */
    SamiReason reason;       /* why this Message is refused, though its signature and structure are right */
    gchar *text;
} Source;

static void
source_free(gpointer data)
{
    Source *source = data;
    Inject *inject = source->inject;
    gboolean was_read = !source->is_stopped && !(inject->has_count && inject->n_left == 0);
    inject->n_unread += source->n_unread;
    if (source->n_unread > 0)
        inject_tell_unread(inject, source->n_unread);
    if (was_read && replay_strict_is_cut(source->strict))
        inject_tell_fault(inject, source->end, REPLAY_STRICT_CUT);
    replay_strict_free(source->strict);
    g_array_unref(source->vm);
    g_free(source->text);
    g_free(source);
}

static Source *
obtain_source(Inject *inject, guint32 session)
{
    Source *source = g_hash_table_lookup(inject->sources, GUINT_TO_POINTER(session));
    if (source)
        return source;
    source = g_new0(Source, 1);
    source->inject = inject;
    source->strict = replay_strict_new(inject->keys);
    source->vm = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    sami_random(source->signature.migration_id, sizeof source->signature.migration_id);
    g_hash_table_insert(inject->sources, GUINT_TO_POINTER(session), source);
    return source;
}

static void G_GNUC_PRINTF(3, 4)
stop(Source *source, SamiReason reason, const gchar *format, ...)
{
    va_list args;
    if (source->reason != SAMI_REASON_NONE)
        return;
    va_start(args, format);
    g_free(source->text);
    source->text = g_strdup_vprintf(format, args);
    va_end(args);
    source->reason = reason;
}

/* Who says it, and so what it may be. FALSE: nobody that may. */
static gboolean
find_trust(Source *source, ReplayTrust *ret_trust, const ReplayKey **ret_key)
{
    const ReplayKey *key = source->is_signed ? replay_strict_key(source->strict) : NULL;
    *ret_key = key;
    *ret_trust = key && key->signer                                                ? REPLAY_TRUST_SIGNER
                 : key && key->is_own && source->signature.role == SAMI_ROLE_FILE ? REPLAY_TRUST_OWN
                                                                                   : REPLAY_TRUST_FORCED;
    if (*ret_trust != REPLAY_TRUST_FORCED || source->inject->replay->args.is_forcing)
        return TRUE;
    stop(source, SAMI_REASON_UNKNOWN_SIGNER, "signed with the key of %s, which is no signer here (signers.d)", key ? key->name : "nobody");
    return FALSE;
}

static gboolean
is_owner(const ReplayTarget *target, ReplayTrust trust, const ReplayKey *key)
{
    return target->trust == trust && (trust != REPLAY_TRUST_SIGNER || g_str_equal(target->name, key->name));
}

/* `vm` (transfer full) (nullable): unscoped, which not every signer may be. */
static void
start_target(Source *source, GArray *vm)
{
    Inject *inject = source->inject;
    ReplayTrust trust;
    const ReplayKey *key;
    g_autoptr(GArray) prefixes = vm;
    if (!find_trust(source, &trust, &key))
        return;
    SamiSigner *signer = trust == REPLAY_TRUST_SIGNER ? (SamiSigner *) key->signer : NULL;
    if (!prefixes && signer && !signer->config->unscoped)
        return stop(source, SAMI_REASON_VM_NOT_ALLOWED, "it is about no VM in particular, and unscoped is not true for signer %s", key->name);
    if (signer && !sami_signer_is_valid(signer, g_get_real_time() / G_USEC_PER_SEC))
        return stop(source, SAMI_REASON_SIGNER_NOT_VALID, "it is outside valid-from and valid-until of signer %s", key->name);
    if (inject->targets->len >= TARGETS_MAX)
        return stop(source, SAMI_REASON_LIMIT, "more than %u migrations", TARGETS_MAX);
    if (signer)
        sami_signer_enforce(signer);
    source->target = replay_target_new(&inject->sink, trust, signer, key ? key->name : "unsigned", source->signature.migration_id,
                                       g_steal_pointer(&prefixes));
    g_ptr_array_add(inject->targets, source->target);
    g_hash_table_insert(inject->by_id, g_memdup2(source->signature.migration_id, 16), source->target);
}

static void
on_begin(Source *source, const SamiBegin *begin)
{
    gboolean is_unscoped = source->vm->len == 0;
    gboolean may_be = (begin->kinds & SAMI_KIND_REPLICATION) || source->signature.role == SAMI_ROLE_FILE || !source->is_signed;
    if (source->target || begin->n_addresses != source->vm->len || (is_unscoped && !may_be))
        return stop(source, SAMI_REASON_PROTOCOL, "begin does not fit what came before it");
    if (g_hash_table_contains(source->inject->by_id, source->signature.migration_id))
        return stop(source, SAMI_REASON_REPLAYED, "this migration has begun in one of these files before");
    start_target(source, is_unscoped ? NULL : g_array_copy(source->vm));
    if (source->target)
        source->target->destination = g_strndup(begin->destination, sizeof begin->destination);
}

static void
on_vm_address(Source *source, const SamiPrefix *sent)
{
    ReplayTrust trust;
    const ReplayKey *key;
    SamiPrefix prefix = *sent;
    g_autofree gchar *text = sami_prefix_to_string(sent);
    if (source->target)
        return stop(source, SAMI_REASON_PROTOCOL, "vm-address behind begin");
    if (source->vm->len >= SAMI_VM_ADDRESSES_MAX)
        return stop(source, SAMI_REASON_LIMIT, "too many vm-address records");
    if (!find_trust(source, &trust, &key))
        return;
    const SamiSigner *signer = trust == REPLAY_TRUST_SIGNER ? key->signer : NULL;
    if (sami_map_prefix(signer ? signer->map : NULL, &prefix) != SAMI_REASON_NONE)
        return stop(source, SAMI_REASON_MAP_CLASH, "%s", text);
    if (signer && (!sami_signer_allows(signer, &prefix, 1) || !sami_address_is_ordinary(prefix.family, &prefix.address)))
        return stop(source, SAMI_REASON_VM_NOT_ALLOWED, "%s is not in allow-prefixes of signer %s", text, key->name);
    g_array_append_val(source->vm, prefix);
}

/* A resumed session, and each later file of a replication, has no begin of its own. */
static gboolean
has_target(Source *source)
{
    ReplayTrust trust;
    const ReplayKey *key;
    if (source->target)
        return TRUE;
    if (!find_trust(source, &trust, &key))
        return FALSE;
    ReplayTarget *known = g_hash_table_lookup(source->inject->by_id, source->signature.migration_id);
    if (known && !is_owner(known, trust, key))
        stop(source, SAMI_REASON_NOT_OWNER, "the migration began as one of %s", known->name);
    else if (known)
        source->target = known;
    else if (trust == REPLAY_TRUST_SIGNER && !key->signer->config->unscoped)
        stop(source, SAMI_REASON_PROTOCOL, "a record before begin: name the file of the session's beginning first");
    else
        start_target(source, NULL);
    return source->target != NULL;
}

/* The one place where a data record may be left out. */
static gboolean
is_wanted(const Source *source, const SamiRecord *record)
{
    Inject *inject = source->inject;
    if (!source->is_wanted || !replay_filter_matches(inject->filter, record))
        return FALSE;
    if (!inject->has_count)
        return TRUE;
    if (inject->n_left == 0)
        return FALSE;
    inject->n_left--;
    return TRUE;
}

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    Source *source = user_data;
    if (source->reason != SAMI_REASON_NONE)
        return;
    switch (record->kind) {
    case SAMI_RECORD_VM_ADDRESS4:
    case SAMI_RECORD_VM_ADDRESS6: on_vm_address(source, &record->vm_address); return;
    case SAMI_RECORD_BEGIN: on_begin(source, &record->begin); return;
    case SAMI_RECORD_HELLO:
    case SAMI_RECORD_STATISTICS:
    case SAMI_RECORD_END:
    case SAMI_RECORD_TYPE_INFORMATION: return;
    case SAMI_RECORD_SESSION:
    case SAMI_RECORD_EXPECTATION:
    case SAMI_RECORD_CUMULATIVE:
        if (has_target(source) && is_wanted(source, record))
            replay_target_add(source->target, record, source->age_s);
        return;
    case SAMI_RECORD_EPOCH:
    case SAMI_RECORD_MARKER:
    case SAMI_RECORD_ABORT:
        if (has_target(source))
            replay_target_add(source->target, record, source->age_s);
        return;
    default: stop(source, SAMI_REASON_PROTOCOL, "a record of the other direction"); return;
    }
}

/* Receipts and the like: they say nothing that could be taken. */
static void
ignore_record(const SamiRecord *record, gpointer user_data)
{
}

static guint32
export_time(const SamiInputMessage *message)
{
    SamiReader r;
    sami_reader_init(&r, message->octets + 4, 4);
    return (guint32) sami_reader_uint(&r, 4);
}

/* Seconds since the Message was exported (RFC 7011 §3.1); 0 also if that lies ahead, by our clock. Export Time has lost up to a second, by which the
 * age looks greater, and so have the timeouts that it is taken from: half a second each, and half to round. */
static guint32
age_of(const SamiInputMessage *message)
{
    gint64 age_us = g_get_real_time() - (gint64) export_time(message) * G_USEC_PER_SEC - G_USEC_PER_SEC / 2;
    return (guint32) CLAMP(age_us / G_USEC_PER_SEC, 0, (gint64) G_MAXUINT32);
}

/* FALSE only if the kernel's socket failed. */
static gboolean
on_message(Inject *inject, const SamiInputMessage *message, GError **error)
{
    Source *source = obtain_source(inject, message->session);
    SamiSignature signature;
    SamiReason reason = SAMI_REASON_NONE;
    g_autoptr(GError) local = NULL;
    source->n_unread += source->is_stopped;
    if (source->is_stopped)
        return TRUE;
    source->is_signed = sami_signature_read(message->octets, message->length, &signature, NULL);
    if (source->is_signed)
        source->signature = signature;
    /* That it is one is its signature's word, so that is verified like any other. */
    gboolean is_answer = source->is_signed && signature.role == SAMI_ROLE_COLLECTOR;
    source->age_s = inject->replay->args.is_keeping_times ? 0 : age_of(message);
    const ReplayMessage read = { .input = *message, .export_time = export_time(message), .is_signed = source->is_signed, .signature = source->signature };
    source->is_wanted = replay_filter_message(inject->filter, &read);
    gboolean is_read = replay_strict_message(source->strict, message, inject->replay->args.is_forcing, is_answer ? ignore_record : on_record, source, &reason, &local);
    if (is_read && source->reason == SAMI_REASON_NONE) {
        source->end = message->offset + message->length;
        inject->n_answers += is_answer;
        inject->n_messages += !is_answer;
        return !source->target || replay_target_commit(source->target, error);
    }
    source->is_stopped = TRUE;
    inject_tell_message(inject, message->offset, is_read ? source->reason : reason, is_read ? source->text : local->message);
    if (source->target)
        replay_target_drop(source->target);
    return TRUE;
}

static gboolean
read_input(Inject *inject, SamiInput *input, GError **error)
{
    SamiInputMessage message;
    SamiInputStatus status = SAMI_INPUT_WAIT;
    guint64 n_before = inject->n_messages + inject->n_messages_refused + inject->n_answers + inject->n_faults;
    g_autoptr(GError) fault = NULL;
    while (!(inject->has_count && inject->n_left == 0) && (status = sami_input_next(input, &message, &fault)) != SAMI_INPUT_END) {
        replay_progress(&inject->progress);
        if (status == SAMI_INPUT_FAULT)
            inject_tell_fault(inject, message.offset, fault->message);
        else if (status == SAMI_INPUT_CLOSED)
            g_hash_table_remove(inject->sources, GUINT_TO_POINTER(message.session));
        else if (status == SAMI_INPUT_MESSAGE && !on_message(inject, &message, error))
            return FALSE;
        g_clear_error(&fault);
    }
    if (!fault && status == SAMI_INPUT_END && inject->n_messages + inject->n_messages_refused + inject->n_answers + inject->n_faults == n_before)
        inject_tell_fault(inject, 0, "no IPFIX Message is in it");
    if (!fault)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&fault));
    return FALSE;
}

static gboolean
read_files(Inject *inject, GError **error)
{
    g_autoptr(GPtrArray) paths = replay_order(inject->replay, inject->replay->args.operands);
    for (guint i = 0; i < paths->len; i++) {
        inject->path = paths->pdata[i];
        g_autoptr(SamiInput) input = replay_open(inject->replay, inject->path, error);
        if (!input)
            return FALSE;
        replay_progress_begin(&inject->progress, inject->replay, input, inject->path);
        gboolean is_read = read_input(inject, input, error);
        g_hash_table_remove_all(inject->sources);
        replay_progress_end(&inject->progress);
        if (!is_read) {
            g_prefix_error(error, "%s: ", inject->path);
            return FALSE;
        }
    }
    return TRUE;
}

/* What a collector would hold itself to (OPERATIONS §2); signers together. */
static void
set_limit(Inject *inject)
{
    guint64 n_entries = 0, max = 0;
    if (inject->replay->config && inject->replay->config->max_sessions)
        sami_budget_set_limit(inject->sink.budget, inject->replay->config->max_sessions);
    else if (!inject->sink.is_dry && sami_firewall_headroom(inject->sink.firewall, &n_entries, &max, NULL))
        sami_budget_set_limit(inject->sink.budget, max > n_entries ? (max - n_entries) / 2 : 0);
}

/* What the policies of signers have of this host, as at the collector; a dry run predicts by it, too. */
static gboolean
read_host(Inject *inject, GError **error)
{
    g_autoptr(GArray) addresses = sami_host_addresses(error);
    if (!addresses)
        return FALSE;
    inject->host.own = sami_address_set_new();
    sami_address_set_replace(inject->host.own, (const SamiPrefix *) (const void *) addresses->data, addresses->len);
    sami_host_timeouts(&inject->host.timeouts);
    return (inject->replay->config && inject->replay->config->nat_elsewhere) || sami_ruleset_translations(&inject->host.translations, error);
}

static gboolean
open_sink(Inject *inject, GError **error)
{
    const ReplayArgs *args = &inject->replay->args;
    const gchar *const words[] = { "merge", "keep", "replace", NULL };
    if (args->on_conflict && !g_strv_contains(words, args->on_conflict)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--on-conflict %s: allowed are merge, keep and replace", args->on_conflict);
        return FALSE;
    }
    if (args->count && !sami_value_uint(args->count, 1, G_MAXINT64, &inject->n_left, error)) {
        g_prefix_error(error, "--count: ");
        return FALSE;
    }
    inject->has_count = args->count != NULL;
    if (args->is_forcing && !replay_namespace_is_apart(REPLAY_NAMESPACE_SELF, REPLAY_NAMESPACE_INITIAL, error)) {
        g_prefix_error(error, "--force-unsigned is for the namespace of a test: ");
        return FALSE;
    }
    inject->sink = (ReplaySink){ .config = inject->replay->config, .on_conflict = args->on_conflict, .is_dry = args->is_dry, .list = inject_list,
                                 .user_data = inject };
    inject->sink.firewall = args->is_dry ? sami_firewall_fake_new(0) : sami_firewall_linux_new(error);
    if (!inject->sink.firewall || !read_host(inject, error))
        return FALSE;
    inject->sink.host = &inject->host;
    inject->sink.batch = sami_apply_batch_new();
    inject->sink.budget = sami_budget_new();
    set_limit(inject);
    return TRUE;
}

static void
clear(Inject *inject)
{
    g_hash_table_unref(inject->sources);
    sami_address_set_free(inject->host.own);
    g_hash_table_unref(inject->by_id);
    g_ptr_array_unref(inject->targets);
    sami_budget_unref(inject->sink.budget);
    sami_apply_batch_free(inject->sink.batch);
    sami_firewall_free(inject->sink.firewall);
    replay_keys_free(inject->keys);
    replay_filter_free(inject->filter);
}

static guint
hash_id(gconstpointer id)
{
    guint hash;
    memcpy(&hash, id, sizeof hash);
    return hash;
}

static gboolean
equal_ids(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, 16) == 0;
}

SamiExit
replay_inject(Replay *replay, GError **error)
{
    Inject inject = { .replay = replay, .sources = g_hash_table_new_full(NULL, NULL, NULL, source_free),
                      .by_id = g_hash_table_new_full(hash_id, equal_ids, g_free, NULL),
                      .targets = g_ptr_array_new_with_free_func((GDestroyNotify) replay_target_free) };
    SamiExit code = SAMI_EXIT_FAILED;
    gboolean is_done = replay_load_config(replay, error) && (inject.filter = replay_filter_new(&replay->args, error)) != NULL &&
                       open_sink(&inject, error) && (inject.keys = replay_keys_load(replay, error)) != NULL &&
                       read_files(&inject, error);
    /* After an error too: what was read by then is in, and has to be what it would be without the rest. */
    for (guint i = 0; i < inject.targets->len; i++)
        is_done &= replay_target_finish(inject.targets->pdata[i], is_done ? error : NULL);
    if (inject.keys)
        code = inject_summary(&inject);
    clear(&inject);
    return is_done ? code : SAMI_EXIT_FAILED;
}
