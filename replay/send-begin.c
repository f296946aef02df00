/* What a recording is of: the VM and the kinds of state, as its begin says them or as --vm does. Nobody is asked before that is known. */
#include "replay/send.h"

#include "common/value.h"
#include "replay/recording.h"

typedef struct {
    GArray *vm; /* of SamiPrefix */
    gboolean is_given; /* by --vm */
    guint n_recorded_vm;
    SamiBegin begin;
    gboolean has_begin, has_state, is_resumed;
} Scan;

static void
on_scanned(const SamiRecord *record, gpointer user_data)
{
    Scan *scan = user_data;
    switch (record->kind) {
    case SAMI_RECORD_HELLO: scan->is_resumed = record->hello.opening == SAMI_OPENING_RESUME; return;
    case SAMI_RECORD_VM_ADDRESS4:
    case SAMI_RECORD_VM_ADDRESS6:
        scan->n_recorded_vm++;
        if (!scan->is_given && scan->vm->len < SAMI_VM_ADDRESSES_MAX)
            g_array_append_val(scan->vm, record->vm_address);
        return;
    case SAMI_RECORD_BEGIN:
        scan->begin = record->begin;
        scan->has_begin = TRUE;
        return;
    case SAMI_RECORD_SESSION:
    case SAMI_RECORD_EXPECTATION:
    case SAMI_RECORD_CUMULATIVE: scan->has_state = TRUE; return;
    default: return;
    }
}

static gboolean
check(const Scan *scan, const gchar *file, guint64 n_answers, GError **error)
{
    if (!scan->has_begin && !scan->has_state)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED, "%s: there is no state in it%s", file, n_answers > 0 ? ", only what a collector answered" : "");
    else if (scan->is_resumed)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s: begins with a session that was resumed: the file of the session before it goes first", file);
    else if (scan->n_recorded_vm > SAMI_VM_ADDRESSES_MAX)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED, "%s: a begin of %u addresses; one migration has at most %u", file, scan->n_recorded_vm,
                    SAMI_VM_ADDRESSES_MAX);
    else if (!scan->is_given && (!scan->has_begin || scan->vm->len == 0))
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s: %s: say with --vm whose flows go", file,
                    scan->has_begin ? "a stream of all VMs (a replication, or a whole table)" : "state comes before any begin");
    else
        return TRUE;
    return FALSE;
}

/* Up to the begin or, where there is none, the first state. */
static gboolean
read_begin(Scan *scan, const Replay *replay, const ReplayKeys *keys, GError **error)
{
    ReplayRecordingStatus status = REPLAY_RECORDING_MESSAGE;
    SamiInputMessage message;
    g_autoptr(ReplayRecording) recording = replay_recording_new(replay, keys, FALSE);
    while (!scan->has_begin && !scan->has_state && (status = replay_recording_next(recording, &message, error)) == REPLAY_RECORDING_MESSAGE)
        if (!replay_recording_decode(recording, on_scanned, scan, error))
            return FALSE;
    return status != REPLAY_RECORDING_BAD && check(scan, replay->args.operands[0], replay_recording_n_answers(recording), error);
}

static gboolean
read_vms(GArray *vm, gchar **texts, GError **error)
{
    for (guint i = 0; texts && texts[i]; i++) {
        g_auto(GStrv) list = sami_value_list(texts[i], error);
        for (guint k = 0; list && list[k]; k++) {
            SamiPrefix prefix;
            if (!sami_prefix_parse(list[k], &prefix, error)) {
                g_prefix_error(error, "--vm: ");
                return FALSE;
            }
            g_array_append_val(vm, prefix);
        }
        if (!list)
            return FALSE;
    }
    if (vm->len <= SAMI_VM_ADDRESSES_MAX)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--vm: %u addresses; one migration has at most %u", vm->len, SAMI_VM_ADDRESSES_MAX);
    return FALSE;
}

gboolean
replay_find_begin(const Replay *replay, const ReplayKeys *keys, GArray **ret_vm, SamiBegin *ret_begin, GError **error)
{
    g_autoptr(GArray) vm = g_array_new(FALSE, TRUE, sizeof(SamiPrefix));
    Scan scan = { .vm = vm, .is_given = replay->args.vms != NULL };
    if (!read_vms(vm, replay->args.vms, error) || !read_begin(&scan, replay, keys, error))
        return FALSE;
    guint32 kinds = scan.has_begin ? scan.begin.kinds & (SAMI_KIND_EXPECTATION | SAMI_KIND_CUMULATIVE) : SAMI_KIND_EXPECTATION;
    *ret_begin = (SamiBegin){ .n_addresses = (guint16) vm->len, .kinds = SAMI_KIND_SESSION | kinds };
    *ret_vm = g_steal_pointer(&vm);
    return TRUE;
}
