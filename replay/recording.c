#include "replay/recording.h"

#include <string.h>

#include "common/cursor.h"
#include "replay/order.h"

struct ReplayRecording {
    const Replay *replay;
    const ReplayKeys *keys;
    gboolean is_first;
    GPtrArray *paths; /* in the order of the migration's Messages */
    guint n_opened;
    SamiInput *input;
    GHashTable *sessions; /* of this input: number -> ReplayStrict */
    ReplayProgress progress;
    ReplayMessage message;
    guint64 n_faults, n_answers;
    guint64 next_counter; /* of an exporter's Messages, over all sessions; 0: not known */
    gchar id[SAMI_MIGRATION_ID_TEXT]; /* of the migration; "" until it is known */
};

ReplayRecording *
replay_recording_new(const Replay *replay, const ReplayKeys *keys, gboolean is_first)
{
    ReplayRecording *recording = g_new0(ReplayRecording, 1);
    recording->replay = replay;
    recording->keys = keys;
    recording->is_first = is_first;
    recording->paths = replay_order(replay, replay->args.operands);
    recording->sessions = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify) replay_strict_free);
    return recording;
}

void
replay_recording_free(ReplayRecording *recording)
{
    if (!recording)
        return;
    if (recording->input)
        replay_progress_end(&recording->progress);
    sami_input_free(recording->input);
    g_hash_table_unref(recording->sessions);
    g_ptr_array_unref(recording->paths);
    g_free(recording);
}

static const gchar *
path_of(const ReplayRecording *recording)
{
    return recording->paths->pdata[recording->n_opened - 1];
}

/* FALSE: of what this input is the recording of, something is missing. */
static gboolean
check_end(ReplayRecording *recording, GError **error)
{
    GHashTableIter iter;
    gpointer strict;
    g_hash_table_iter_init(&iter, recording->sessions);
    while (g_hash_table_iter_next(&iter, NULL, &strict))
        if (replay_strict_is_cut(strict)) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED, "%s: %s", path_of(recording), REPLAY_STRICT_CUT);
            return FALSE;
        }
    return TRUE;
}

/* TRUE: there is an input; FALSE with `error`: it cannot be read; FALSE: there is no other one. */
static gboolean
open_next(ReplayRecording *recording, GError **error)
{
    const gchar *path = recording->n_opened < recording->paths->len ? recording->paths->pdata[recording->n_opened] : NULL;
    if (recording->input)
        replay_progress_end(&recording->progress);
    g_clear_pointer(&recording->input, sami_input_free);
    gboolean is_whole = check_end(recording, error);
    g_hash_table_remove_all(recording->sessions);
    if (!is_whole || !path)
        return FALSE;
    recording->input = replay_open(recording->replay, path, error);
    if (!recording->input)
        return FALSE;
    recording->n_opened++;
    replay_progress_begin(&recording->progress, recording->replay, recording->input, path);
    recording->progress.is_wanted &= recording->is_first;
    return TRUE;
}

static void
read_header(ReplayMessage *message)
{
    SamiReader r;
    sami_reader_init(&r, message->input.octets + 4, SAMI_MESSAGE_HEADER - 4);
    message->export_time = (guint32) sami_reader_uint(&r, 4);
    message->sequence = (guint32) sami_reader_uint(&r, 4);
    message->domain = (guint32) sami_reader_uint(&r, 4);
    message->is_signed = sami_signature_read(message->input.octets, message->input.length, &message->signature, NULL);
}

/* Of the other direction: signed as such or, unsigned, of its Observation Domain. */
static gboolean
is_answer(const ReplayMessage *message)
{
    return message->is_signed ? message->signature.role == SAMI_ROLE_COLLECTOR : message->domain == SAMI_DOMAIN_REVERSE;
}

/* 1: of our migration; 0: to be passed over; -1: of a second one. */
static gint
choose(ReplayRecording *recording, GError **error)
{
    const ReplayMessage *message = &recording->message;
    const gchar *wanted = recording->replay->args.migration;
    gchar id[SAMI_MIGRATION_ID_TEXT];
    if (is_answer(message)) {
        recording->n_answers++;
        return 0;
    }
    if (!message->is_signed)
        return wanted ? 0 : 1;
    sami_migration_id_text(message->signature.migration_id, id);
    if (wanted && g_ascii_strncasecmp(id, wanted, strlen(wanted)) != 0)
        return 0;
    if (!*recording->id)
        memcpy(recording->id, id, sizeof id);
    if (!strcmp(recording->id, id))
        return 1;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s: holds migration %.8s… beside %.8s…: choose one with --migration", path_of(recording), id,
                recording->id);
    return -1;
}

ReplayRecordingStatus
replay_recording_next(ReplayRecording *recording, SamiInputMessage *ret, GError **error)
{
    for (;;) {
        g_autoptr(GError) fault = NULL;
        SamiInputStatus status = recording->input ? sami_input_next(recording->input, &recording->message.input, &fault) : SAMI_INPUT_END;
        if (status == SAMI_INPUT_MESSAGE) {
            replay_progress(&recording->progress);
            read_header(&recording->message);
            gint chosen = choose(recording, error);
            *ret = recording->message.input;
            if (chosen != 0)
                return chosen > 0 ? REPLAY_RECORDING_MESSAGE : REPLAY_RECORDING_BAD;
        } else if (status == SAMI_INPUT_CLOSED) {
            g_hash_table_remove(recording->sessions, GUINT_TO_POINTER(recording->message.input.session));
        } else if (status == SAMI_INPUT_FAULT) {
            recording->n_faults++;
            if (recording->is_first)
                replay_say(stderr, &recording->progress, "sami-replay: %s: octet %" G_GUINT64_FORMAT ": %s\n", path_of(recording),
                           recording->message.input.offset, fault->message);
        } else if (fault) {
            g_propagate_prefixed_error(error, g_steal_pointer(&fault), "%s: ", path_of(recording));
            return REPLAY_RECORDING_BAD;
        } else if (!open_next(recording, &fault)) {
            if (!fault)
                return REPLAY_RECORDING_END;
            g_propagate_error(error, g_steal_pointer(&fault));
            return REPLAY_RECORDING_BAD;
        }
    }
}

/* A session that resumes goes on where the one before it ended, or before that (PROTOCOL §3): behind it, a file is missing. */
static gboolean
check_counter(ReplayRecording *recording, GError **error)
{
    const ReplayMessage *message = &recording->message;
    guint64 counter = message->signature.counter, next = recording->next_counter;
    if (!message->is_signed || message->signature.role != SAMI_ROLE_EXPORTER || counter == 0)
        return TRUE;
    recording->next_counter = counter + 1;
    if (next == 0 || counter <= next)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED,
                "%s: octet %" G_GUINT64_FORMAT ": Messages %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT " of the migration are missing before it",
                path_of(recording), message->input.offset, next, counter - 1);
    return FALSE;
}

gboolean
replay_recording_decode(ReplayRecording *recording, SamiRecordFunc func, gpointer user_data, GError **error)
{
    const SamiInputMessage *message = &recording->message.input;
    gpointer number = GUINT_TO_POINTER(message->session);
    ReplayStrict *strict = g_hash_table_lookup(recording->sessions, number);
    SamiReason reason = SAMI_REASON_NONE;
    g_autoptr(GError) local = NULL;
    if (!strict) {
        strict = replay_strict_new(recording->keys);
        g_hash_table_insert(recording->sessions, number, strict);
    }
    recording->message.number++;
    if (!check_counter(recording, error))
        return FALSE;
    if (replay_strict_message(strict, message, recording->replay->args.is_signing_unsigned, func, user_data, &reason, &local))
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED, "%s: octet %" G_GUINT64_FORMAT ": %s: %s%s", path_of(recording), message->offset,
                sami_reason_id(reason), local->message,
                reason == SAMI_REASON_NOT_SIGNED || reason == SAMI_REASON_UNKNOWN_SIGNER ? "; --sign-unsigned vouches for it with our own key" : "");
    return FALSE;
}

const ReplayMessage *
replay_recording_message(const ReplayRecording *recording)
{
    return &recording->message;
}

ReplayProgress *
replay_recording_progress(ReplayRecording *recording)
{
    return &recording->progress;
}

guint64
replay_recording_n_faults(const ReplayRecording *recording)
{
    return recording->n_faults;
}

guint64
replay_recording_n_answers(const ReplayRecording *recording)
{
    return recording->n_answers;
}
