/* The recorded Messages of one migration, out of several files, in order; verified as a collector would (replay/strict.h). */
#pragma once

#include "replay/strict.h"

typedef struct ReplayRecording ReplayRecording;

/* From the first operand on, in the order of the migration's Messages. With is_first faults are told on standard error, and the bar is shown;
 * `keys` and `replay` outlive it. */
ReplayRecording *replay_recording_new(const Replay *replay, const ReplayKeys *keys, gboolean is_first);
void replay_recording_free(ReplayRecording *recording); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ReplayRecording, replay_recording_free)
typedef enum { REPLAY_RECORDING_MESSAGE, REPLAY_RECORDING_END, REPLAY_RECORDING_BAD } ReplayRecordingStatus;
/* The next Message of the migration, not yet verified; valid until the next call. BAD: a file cannot be read, or another migration begins and
 * --migration does not choose (SAMI_ERROR_USAGE). */
ReplayRecordingStatus replay_recording_next(ReplayRecording *recording, SamiInputMessage *ret, GError **error);
/* Verifies and decodes it. FALSE: nothing behind it can be read (SAMI_ERROR_REFUSED: file, octet, rule). */
gboolean replay_recording_decode(ReplayRecording *recording, SamiRecordFunc func, gpointer user_data, GError **error);
/* The Message decoded last, or being decoded. Its `number` is its place in the order of reading, from 1, of those that were decoded. */
const ReplayMessage *replay_recording_message(const ReplayRecording *recording); /* (transfer none) */
/* Puts what is printed clear of the bar. */
ReplayProgress *replay_recording_progress(ReplayRecording *recording);
/* Octets that were no whole Message, and Messages of the other direction, so far. */
guint64 replay_recording_n_faults(const ReplayRecording *recording);
guint64 replay_recording_n_answers(const ReplayRecording *recording);
