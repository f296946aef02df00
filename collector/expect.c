#include "collector/expect.h"

#include <string.h>

#include "common/limits.h"
#include "common/trust.h"

#define ANY "*"
/* A time, a name and a prefix are some 320 octets at most. */
#define FILE_MAX (SAMI_EXPECT_MAX * 512u)

struct SamiExpect {
    gchar *path;
    GArray *list; /* of SamiAnnouncement */
};

static void
announcement_clear(gpointer data)
{
    g_free(((SamiAnnouncement *) data)->from);
}

static gboolean
read_line(SamiExpect *expect, const gchar *line, GError **error)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 3);
    SamiAnnouncement a = { 0 };
    if (g_strv_length(words) != 3 || !g_ascii_string_to_signed(words[0], 10, 0, G_MAXINT64, &a.until_s, NULL) || !*words[1] ||
        !sami_prefix_parse(words[2], &a.prefix, NULL) || expect->list->len >= SAMI_EXPECT_MAX) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "%s: \"%s\" is no announcement, or one too many; remove the line or the file",
                    expect->path, line);
        return FALSE;
    }
    a.from = strcmp(words[1], ANY) == 0 ? NULL : g_strdup(words[1]);
    g_array_append_val(expect->list, a);
    return TRUE;
}

SamiExpect *
sami_expect_new(const gchar *path, GError **error)
{
    g_autoptr(SamiExpect) expect = g_new0(SamiExpect, 1);
    g_autofree gchar *text = NULL;
    gsize length = 0;
    expect->path = g_strdup(path);
    expect->list = g_array_new(FALSE, TRUE, sizeof(SamiAnnouncement));
    g_array_set_clear_func(expect->list, announcement_clear);
    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return g_steal_pointer(&expect);
    if (!(text = sami_trust_read(path, SAMI_TRUST_PUBLIC, FILE_MAX, &length, error)))
        return NULL;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i]; i++)
        if (*lines[i] && !read_line(expect, lines[i], error))
            return NULL;
    return g_steal_pointer(&expect);
}

void
sami_expect_free(SamiExpect *expect)
{
    if (!expect)
        return;
    g_array_unref(expect->list);
    g_free(expect->path);
    g_free(expect);
}

static SamiAnnouncement *
at(const SamiExpect *expect, guint i)
{
    return &g_array_index(expect->list, SamiAnnouncement, i);
}

static gboolean
is_same_prefix(const SamiPrefix *a, const SamiPrefix *b)
{
    return a->family == b->family && a->length == b->length && memcmp(&a->address, &b->address, sizeof a->address) == 0;
}

static void
forget_ended(SamiExpect *expect, gint64 now_s)
{
    for (guint i = expect->list->len; i-- > 0;)
        if (at(expect, i)->until_s <= now_s)
            g_array_remove_index(expect->list, i);
}

gboolean
sami_expect_add(SamiExpect *expect, const SamiPrefix *prefix, const gchar *from, gint64 until_s, gint64 now_s, GError **error)
{
    forget_ended(expect, now_s);
    for (guint i = 0; i < expect->list->len; i++)
        if (is_same_prefix(&at(expect, i)->prefix, prefix) && g_strcmp0(at(expect, i)->from, from) == 0) {
            at(expect, i)->until_s = until_s;
            return TRUE;
        }
    if (expect->list->len >= SAMI_EXPECT_MAX) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FULL, "%u announcements stand already; see 'samictl expect --list'", expect->list->len);
        return FALSE;
    }
    SamiAnnouncement a = { .prefix = *prefix, .from = g_strdup(from), .until_s = until_s };
    g_array_append_val(expect->list, a);
    return TRUE;
}

guint
sami_expect_remove(SamiExpect *expect, const SamiPrefix *prefix, const gchar *from, gboolean is_any)
{
    guint n = 0;
    for (guint i = expect->list->len; i-- > 0;) {
        const SamiAnnouncement *a = at(expect, i);
        gboolean is_from = is_any ? !a->from : !from || g_strcmp0(a->from, from) == 0;
        if (!is_from || !is_same_prefix(&a->prefix, prefix))
            continue;
        g_array_remove_index(expect->list, i);
        n++;
    }
    return n;
}

gboolean
sami_expect_covers(const SamiExpect *expect, const SamiPrefix *vm, const gchar *signer, gint64 now_s)
{
    for (guint i = 0; i < expect->list->len; i++) {
        const SamiAnnouncement *a = at(expect, i);
        if (a->until_s > now_s && (!a->from || strcmp(a->from, signer) == 0) && sami_prefix_covers(&a->prefix, vm))
            return TRUE;
    }
    return FALSE;
}

gboolean
sami_expect_save(SamiExpect *expect, gint64 now_s, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GError) local = NULL;
    forget_ended(expect, now_s);
    for (guint i = 0; i < expect->list->len; i++) {
        const SamiAnnouncement *a = at(expect, i);
        g_autofree gchar *prefix = sami_prefix_to_string(&a->prefix);
        g_string_append_printf(text, "%" G_GINT64_FORMAT " %s %s\n", a->until_s, a->from ? a->from : ANY, prefix);
    }
    if (g_file_set_contents_full(expect->path, text->str, (gssize) text->len, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &local))
        return TRUE;
    g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_FAILED, local->message);
    return FALSE;
}

const GArray *
sami_expect_list(const SamiExpect *expect)
{
    return expect->list;
}
