/* Words for the numbers in records of ours: states, phases, reasons, bits. */
#pragma once

#include "replay/reader.h"

/* Appends " (ESTABLISHED)" or " (SEEN_REPLY,ASSURED)" after a number that has words; nothing for others. */
void replay_append_words(GString *out, const ReplayField *field, guint64 value);
/* "ESTABLISHED"; NULL for a number without a word. (transfer none) (nullable) */
const gchar *replay_word(SamiElementId element, guint64 value);
/* "SEEN_REPLY,ASSURED" of flags. */
void replay_append_flags(GString *out, SamiElementId element, guint64 value);
/* "session", "vm-address", …; both families of a kind have one name. */
const gchar *replay_kind_name(SamiRecordKind kind);
/* The same for any record: also "signature", "foreign", "foreign-options". */
const gchar *replay_record_name(const ReplayRecord *record);
