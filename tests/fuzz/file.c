/* A file as sami-replay reads it: loosely, with every value shown both ways. Its end is reached, and no more is found than there is room for. */
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "replay/filter.h"
#include "replay/names.h"
#include "replay/value.h"

typedef struct {
    ReplayFilter *filter;
    GString *text;
    guint64 n_records;
} Reading;

static void
on_record(const ReplayRecord *record, gpointer user_data)
{
    Reading *reading = user_data;
    ReplayWalk walk = REPLAY_WALK(record);
    ReplayValue value;
    reading->n_records++;
    g_string_truncate(reading->text, 0);
    while (replay_walk(&walk, &value)) {
        replay_field_name(reading->text, value.field);
        replay_value_text(reading->text, &value);
        replay_value_json(reading->text, &value);
    }
    g_assert(g_utf8_validate(reading->text->str, (gssize)reading->text->len, NULL));
    g_assert(replay_filter_record(reading->filter, record) == (!record->ours || replay_filter_matches(reading->filter, record->ours)));
    replay_record_name(record);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ReplayHandlers handlers = {.record = on_record};
    Replay replay = {.args = {.is_quiet = TRUE}};
    Reading reading = {replay_filter_new(&replay.args, NULL), g_string_new(NULL), 0};
    ReplayProgress progress;
    guint64 n_faults;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    g_assert(fd >= 0);
    g_autofree gchar *path = g_strdup_printf("/proc/self/fd/%d", fd);
    if (write(fd, data, size) == (gssize)size)
        replay_read(&replay, path, &handlers, &reading, NULL, &progress, &n_faults, NULL, NULL);
    g_assert(reading.n_records <= size);
    close(fd);
    replay_filter_free(reading.filter);
    g_string_free(reading.text, TRUE);
    return 0;
}
