/* The bar, and output that keeps clear of it. */
#include "replay/replay.h"

#include <stdarg.h>
#include <unistd.h>

#include "common/value.h"

#define EVERY_US (G_USEC_PER_SEC / 5)
#define CALLS 256u /* between looks at the clock */
#define WIDTH 32u

void
replay_progress_begin(ReplayProgress *progress, const Replay *replay, const SamiInput *input, const gchar *path)
{
    guint64 n_read, size;
    sami_input_progress(input, &n_read, &size);
    *progress = (ReplayProgress){ .input = input, .path = path, .next_us = g_get_monotonic_time() + EVERY_US,
                                  .is_wanted = size > 0 && !replay->args.is_quiet && isatty(STDERR_FILENO) };
}

void
replay_progress_hide(ReplayProgress *progress)
{
    if (progress && progress->is_shown)
        fputs("\r\033[K", stderr);
    if (progress)
        progress->is_shown = FALSE;
}

void
replay_progress(ReplayProgress *progress)
{
    if (!progress->is_wanted || ++progress->n_calls % CALLS != 0)
        return;
    gint64 now = g_get_monotonic_time();
    if (now < progress->next_us)
        return;
    guint64 n_read, size;
    sami_input_progress(progress->input, &n_read, &size);
    guint n_full = (guint) (MIN(n_read, size) * WIDTH / size);
    gchar bar[WIDTH + 1];
    for (guint i = 0; i < WIDTH; i++)
        bar[i] = i < n_full ? '#' : '-';
    bar[WIDTH] = '\0';
    g_autofree gchar *path = g_strdelimit(g_strdup(progress->path), "\n", '?'); /* of a file, whoever has named it */
    sami_value_mask_controls(path);
    fprintf(stderr, "\r\033[K%s [%s] %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " MB", path, bar, n_read / 1000000, size / 1000000);
    fflush(stderr);
    progress->is_shown = TRUE;
    progress->next_us = now + EVERY_US;
}

void
replay_progress_end(ReplayProgress *progress)
{
    replay_progress_hide(progress);
    progress->is_wanted = FALSE;
}

void
replay_say(FILE *stream, ReplayProgress *progress, const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree gchar *text = g_strdup_vprintf(format, args);
    va_end(args);
    sami_value_mask_controls(text);
    replay_progress_hide(progress);
    fputs(text, stream);
}
