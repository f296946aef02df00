#include "common/log.h"

#include <string.h>
#include <unistd.h>

#include "common/value.h"

typedef struct {
    const gchar *program;
    gboolean is_debug;
    gboolean is_journal;
} Writer;

typedef struct {
    GLogLevelFlags level;
    const gchar *name;
    const gchar *priority; /* syslog(3) */
} Level;

static const Level levels[] = {
    {G_LOG_LEVEL_ERROR, "err", "3"},       {G_LOG_LEVEL_CRITICAL, "err", "3"},
    {G_LOG_LEVEL_WARNING, "warning", "4"}, {G_LOG_LEVEL_MESSAGE, "notice", "5"},
    {G_LOG_LEVEL_INFO, "info", "6"},       {G_LOG_LEVEL_DEBUG, "debug", "7"},
};

static const Level *
find_level(GLogLevelFlags flags)
{
    for (guint i = 0; i < G_N_ELEMENTS(levels); i++)
        if (flags & levels[i].level)
            return &levels[i];
    return &levels[G_N_ELEMENTS(levels) - 1];
}

static const gchar *
find_field(const GLogField *fields, gsize n_fields, const gchar *key)
{
    for (gsize i = 0; i < n_fields; i++)
        if (!strcmp(fields[i].key, key) && fields[i].length < 0)
            return fields[i].value;
    return NULL;
}

static gboolean
is_wanted(const Writer *writer, GLogLevelFlags flags, const gchar *domain)
{
    if (writer->is_debug)
        return TRUE;
    if (flags & (G_LOG_LEVEL_DEBUG | G_LOG_LEVEL_INFO))
        return FALSE;
    /* libfixbuf sends warnings about input of the peer to the default domain; each of them also
     * reaches us as a GError. */
    return domain || (flags & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL));
}

/* One line whatever the message holds: text of a peer must not forge a line of ours. */
static gchar *
make_line(const Writer *writer, const Level *level, const gchar *message)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree gchar *time = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S.%fZ");
    gchar *line = g_strdup_printf("%s %s[%d] %s: %s\n", time, writer->program, (int)getpid(),
                                  level->name, message);
    sami_value_mask_controls(line);
    for (gchar *at = line; at[0] && at[1]; at++)
        if (*at == '\n')
            *at = ' ';
    return line;
}

static GLogWriterOutput
write_journal(const Writer *writer, const Level *level, const GLogField *fields, gsize n_fields)
{
    g_autoptr(GArray) sent =
        g_array_sized_new(FALSE, FALSE, sizeof(GLogField), (guint)n_fields + 2);
    GLogField identifier = {"SYSLOG_IDENTIFIER", writer->program, -1};
    GLogField priority = {"PRIORITY", level->priority, -1};
    for (gsize i = 0; i < n_fields; i++)
        if (strcmp(fields[i].key, "PRIORITY") != 0)
            g_array_append_val(sent, fields[i]);
    g_array_append_val(sent, identifier);
    g_array_append_val(sent, priority);
    return g_log_writer_journald(level->level, (const GLogField *)(gpointer)sent->data, sent->len,
                                 NULL);
}

static GLogWriterOutput
write_log(GLogLevelFlags flags, const GLogField *fields, gsize n_fields, gpointer user_data)
{
    const Writer *writer = user_data;
    const Level *level = find_level(flags);
    if (!is_wanted(writer, flags, find_field(fields, n_fields, "GLIB_DOMAIN")))
        return G_LOG_WRITER_HANDLED;
    if (writer->is_journal &&
        write_journal(writer, level, fields, n_fields) == G_LOG_WRITER_HANDLED)
        return G_LOG_WRITER_HANDLED;
    const gchar *message = find_field(fields, n_fields, "MESSAGE");
    g_autofree gchar *line = make_line(writer, level, message ? message : "(no text)");
    /* One write a line, so that lines of two processes on one pipe do not mix. */
    return write(STDERR_FILENO, line, strlen(line)) < 0 ? G_LOG_WRITER_UNHANDLED
                                                        : G_LOG_WRITER_HANDLED;
}

void
sami_log_init(const gchar *program, gboolean is_debug)
{
    Writer *writer = g_new0(Writer, 1);
    *writer = (Writer){program, is_debug, g_log_writer_is_journald(STDERR_FILENO)};
    g_log_set_writer_func(write_log, writer, g_free);
}

void
sami_log_limit_sum_up(SamiLogLimit *limit, gboolean is_end)
{
    gint64 now_us = g_get_monotonic_time();
    if (!is_end && now_us - limit->minute_us < 60 * G_USEC_PER_SEC)
        return;
    if (limit->n > limit->most)
        g_warning("%u more in a minute: %s", limit->n - limit->most, limit->what);
    limit->n = 0;
    limit->minute_us = now_us;
}

gboolean
sami_log_limit_take(SamiLogLimit *limit, guint most, const gchar *what)
{
    limit->most = most;
    limit->what = what;
    sami_log_limit_sum_up(limit, FALSE);
    return limit->n++ < limit->most;
}
