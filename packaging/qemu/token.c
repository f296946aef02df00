#include "packaging/qemu/token.h"

#include <string.h>

#define MAGIC "SAMI1"
#define LEFT_MAX_MS (3600u * 1000u)

static const gchar *const states[] = {"ready", "late", "none"};

gchar *
sami_token_print(const SamiToken *token)
{
    return g_strdup_printf(MAGIC " %s %s %u", states[token->state], *token->id ? token->id : "-",
                           MIN(token->left_ms, LEFT_MAX_MS));
}

static gboolean
is_id(const gchar *text)
{
    return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

static gboolean
parse_words(gchar **words, SamiToken *token)
{
    guint64 left_ms = 0;
    guint state = 0;
    if (g_strv_length(words) != 4 || strcmp(words[0], MAGIC) != 0 ||
        !g_ascii_string_to_unsigned(words[3], 10, 0, LEFT_MAX_MS, &left_ms, NULL))
        return FALSE;
    while (state < G_N_ELEMENTS(states) && strcmp(states[state], words[1]) != 0)
        state++;
    if (state == G_N_ELEMENTS(states) ||
        !(state == SAMI_TOKEN_NONE ? !strcmp(words[2], "-") : is_id(words[2])))
        return FALSE;
    token->state = state;
    token->left_ms = (guint)left_ms;
    g_strlcpy(token->id, state == SAMI_TOKEN_NONE ? "" : words[2], sizeof token->id);
    return TRUE;
}

gboolean
sami_token_parse(const guint8 *data, gsize length, SamiToken *ret_token, GError **error)
{
    SamiToken token = {0};
    if (length > 0 && length <= SAMI_TOKEN_MAX && !memchr(data, '\0', length)) {
        g_autofree gchar *text = g_strndup((const gchar *)data, length);
        g_auto(GStrv) words = g_strsplit(text, " ", -1);
        if (parse_words(words, &token)) {
            *ret_token = token;
            return TRUE;
        }
    }
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                "%" G_GSIZE_FORMAT " octets that are no token of ours: were they saved by another helper, or by "
                "another version?",
                length);
    return FALSE;
}
