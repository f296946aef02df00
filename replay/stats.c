/* stats: what is in an input, counted. */
#include "replay/replay.h"

SamiExit
replay_stats(Replay *replay, GError **error)
{
    ReplayProgress progress;
    SamiInputMessage message;
    SamiInputStatus status;
    guint64 n_messages = 0, n_octets = 0, n_faults = 0;
    g_autoptr(GError) failure = NULL;
    g_autoptr(SamiInput) input = replay_open(replay, replay->args.operands[0], error);
    if (!input)
        return SAMI_EXIT_FAILED;
    replay_progress_begin(&progress, replay, input, replay->args.operands[0]);
    while ((status = sami_input_next(input, &message, &failure)) != SAMI_INPUT_END) {
        replay_progress(&progress);
        n_messages += status == SAMI_INPUT_MESSAGE;
        n_octets += status == SAMI_INPUT_MESSAGE ? message.length : 0;
        n_faults += status == SAMI_INPUT_FAULT;
        g_clear_error(&failure);
    }
    replay_progress_end(&progress);
    if (failure) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return SAMI_EXIT_FAILED;
    }
    printf("%s: %s, %" G_GUINT64_FORMAT " Messages, %" G_GUINT64_FORMAT " octets\n", replay->args.operands[0], sami_input_form(input), n_messages, n_octets);
    return n_faults ? REPLAY_EXIT_BROKEN : SAMI_EXIT_DONE;
}
