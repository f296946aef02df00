/* Which Messages and records are wanted: --address, --port, --protocol, --vlan, --migration, --since, --until, --kind. Values of one option are
 * alternatives, options have to hold together. */
#pragma once

#include "replay/reader.h"

typedef struct ReplayFilter ReplayFilter;
/* SAMI_ERROR_USAGE, naming the option and what is allowed. */
ReplayFilter *replay_filter_new(const ReplayArgs *args, GError **error);
void replay_filter_free(ReplayFilter *filter);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ReplayFilter, replay_filter_free)
/* By migration and time; an unsigned Message is of no migration. */
gboolean replay_filter_message(const ReplayFilter *filter, const ReplayMessage *message);
/* By what is in the record, whoever made it. A record without any address, port, … does not have the one that is asked for. */
gboolean replay_filter_record(const ReplayFilter *filter, const ReplayRecord *record);
/* The same for a decoded record of ours. */
gboolean replay_filter_matches(const ReplayFilter *filter, const SamiRecord *record);
/* FALSE: every record is wanted, replay_filter_record() need not be asked. */
gboolean replay_filter_has_record_rules(const ReplayFilter *filter);
