#include "tests/hostile/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <glib/gprintf.h>

#include "common/control.h"

#define COUNTER_TIMEOUT_US (5 * G_USEC_PER_SEC)

static const gchar *current_case;

void
set_case(const gchar *name)
{
    current_case = name;
}

void
die(const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    g_printerr("%s%s%s", current_case ? "FAIL " : "", current_case ? current_case : "", current_case ? ": " : "");
    g_vfprintf(stderr, format, args);
    g_printerr("\n");
    va_end(args);
    exit(EXIT_FAILURE);
}

static GHashTable *
read_counters(const Watch *watch)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", "stats");
    g_autoptr(JsonObject) answer = sami_control_call(watch->socket, request, NULL, NULL, &error);
    if (!answer)
        die("%s", error->message);
    GHashTable *counters = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    JsonObject *members = json_object_get_object_member(answer, "counters");
    g_autoptr(GList) names = json_object_get_members(members);
    for (GList *at = names; at; at = at->next)
        if (watch->is_wanted(at->data))
            g_hash_table_insert(counters, g_strdup(at->data), GSIZE_TO_POINTER(json_object_get_int_member(members, at->data)));
    return counters;
}

static gint
compare_lines(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const gchar *const *) a, *(const gchar *const *) b);
}

static void
add_line(const SamiSession *s, gpointer user_data)
{
    g_autofree gchar *key = sami_flow_key_to_string(&s->key);
    g_ptr_array_add(user_data, g_strdup_printf("%s status 0x%x state %u mark %u id %u start %" G_GUINT64_FORMAT, key, s->status, s->tcp_state,
                                               s->mark, s->flow_id, s->start_ns));
}

static void
enter(int namespace)
{
    if (setns(namespace, CLONE_NEWNET) != 0)
        die("setns: %s", g_strerror(errno));
}

static void
on_event(SamiEventKind kind, const SamiSession *s, gpointer user_data)
{
    static const gchar *const kinds[] = { "new", "update", "destroy" };
    Watch *watch = user_data;
    g_autofree gchar *key = sami_flow_key_to_string(&s->key);
    g_string_append_printf(watch->written, "     in the connection table: %s %s\n", kinds[kind], key);
}

void
watch_read_events(Watch *watch)
{
    g_autoptr(GError) error = NULL;
    g_string_truncate(watch->written, 0);
    if (sami_firewall_events_barrier(watch->events, on_event, watch, &error))
        return;
    /* Out of memory for a moment, or this process had no turn for the reply: what is in the table is compared all the same. */
    if (!g_error_matches(error, SAMI_ERROR, SAMI_ERROR_OVERRUN))
        die("events of the connection table: %s", error->message);
    fprintf(stderr, "events of the connection table: %s; go by the table alone\n", error->message);
}

gchar *
watch_read_table(const Watch *watch)
{
    static const SamiDumpFilter all = { 0 };
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    enter(watch->other);
    g_autoptr(SamiFirewallDump) dump = sami_firewall_dump_new(watch->firewall, &all, &error);
    SamiDumpStatus status = dump ? SAMI_DUMP_MORE : SAMI_DUMP_BAD;
    while (status == SAMI_DUMP_MORE) {
        struct pollfd ready = { .fd = sami_firewall_dump_fd(dump), .events = POLLIN };
        poll(&ready, 1, 1000);
        status = sami_firewall_dump_next(dump, add_line, lines, &error);
    }
    if (status == SAMI_DUMP_BAD)
        die("the table cannot be read: %s", error->message);
    enter(watch->own);
    g_ptr_array_sort(lines, compare_lines);
    g_ptr_array_add(lines, NULL);
    return g_strjoinv("\n", (gchar **) lines->pdata);
}

/* "`name` is `n` more, all others as before". */
static gchar *
compare_counters(GHashTable *before, GHashTable *after, const gchar *name, guint n)
{
    GHashTableIter iter;
    gpointer key, value;
    if (name && !g_hash_table_contains(after, name))
        return g_strdup_printf("there is no counter %s", name);
    g_hash_table_iter_init(&iter, after);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        gsize was = GPOINTER_TO_SIZE(g_hash_table_lookup(before, key)), wanted = was + (g_strcmp0(key, name) == 0 ? n : 0);
        if (GPOINTER_TO_SIZE(value) != wanted)
            return g_strdup_printf("counter %s is %zu, not %zu", (gchar *) key, GPOINTER_TO_SIZE(value), wanted);
    }
    return NULL;
}

gchar *
watch_counters(Watch *watch, const gchar *name, guint n)
{
    gchar *wrong = NULL;
    GHashTable *after = NULL;
    gint64 deadline = g_get_monotonic_time() + COUNTER_TIMEOUT_US;
    do {
        g_clear_pointer(&after, g_hash_table_unref);
        after = read_counters(watch);
        g_free(wrong);
        wrong = compare_counters(watch->counters, after, name, n);
    } while (wrong && g_get_monotonic_time() < deadline && (g_usleep(2000), TRUE));
    g_hash_table_unref(watch->counters);
    watch->counters = after;
    return wrong;
}

void
watch_open(Watch *watch, const gchar *socket, gboolean (*is_wanted)(const gchar *), const gchar *netns)
{
    g_autoptr(GError) error = NULL;
    *watch = (Watch){ .socket = socket, .is_wanted = is_wanted, .own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC),
                      .other = open(netns, O_RDONLY | O_CLOEXEC), .written = g_string_new(NULL) };
    if (watch->own < 0 || watch->other < 0)
        die("%s: %s", netns, g_strerror(errno));
    watch->counters = read_counters(watch);
    enter(watch->other);
    if (!(watch->firewall = sami_firewall_linux_new(&error)) || !(watch->events = sami_firewall_events_new(watch->firewall, &error)))
        die("%s", error->message);
    enter(watch->own);
}

void
watch_close(Watch *watch)
{
    g_hash_table_unref(watch->counters);
    sami_firewall_events_free(watch->events);
    sami_firewall_free(watch->firewall);
    g_string_free(watch->written, TRUE);
    close(watch->own);
    close(watch->other);
}
