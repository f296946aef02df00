/* Strict reading: one direction of one Transport Session, or one recorded file, taken as a collector would take it. Signature first, then
 * structure, then records (PROTOCOL §2); nothing that is not signed by a known key is decoded. */
#pragma once

#include "replay/keys.h"
#include "templates/codec.h"
#include "templates/validate.h"

typedef struct ReplayStrict ReplayStrict;

/* keys (transfer none). */
ReplayStrict *replay_strict_new(const ReplayKeys *keys);
void replay_strict_free(ReplayStrict *strict);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ReplayStrict, replay_strict_free)

/* Takes the next Message: ends with the signature's Set; role, migration id and key are those of the first Message; the binding is that of the
 * first (hello) or second one; the counter is the next one, behind a hello any, as the session may be a resumed one; the signature
 * verifies; then shim, codec and `func` for each record. After FALSE the session cannot be read on, as a collector would not: *ret_reason is its
 * reason (for what was not signed, unknown or wrong), and every later call fails with PROTOCOL. With `force_unsigned` a Message without a signature Set, or with one of an unknown key, is decoded all the same. */
gboolean replay_strict_message(ReplayStrict *strict, const SamiInputMessage *message, gboolean force_unsigned, SamiRecordFunc func,
                               gpointer user_data, SamiReason *ret_reason, GError **error);
/* Of the Messages so far. (nullable) who signed; NULL before the first, or unsigned. */
const ReplayKey *replay_strict_key(const ReplayStrict *strict);
/* What was recorded into a file ends in a Message that says so; TRUE: the last one that was taken does not, so Messages are missing behind it. The journal
 * of a session may end anywhere: another file may go on. */
gboolean replay_strict_is_cut(const ReplayStrict *strict);
#define REPLAY_STRICT_CUT "the recording does not end here: Messages are missing behind its last one"
