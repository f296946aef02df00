#include "templates/rules.h"

#include <string.h>

static const struct {
    guint8 where;
    const gchar *id, *source, *text;
} rules[SAMI_N_RULES] = {
    [SAMI_RULE_NONE] = { 0, "none", "", "" },
#define X(symbol, where, id, source, text) [SAMI_RULE_##symbol] = { SAMI_RULE_IN_##where, id, source, text },
    SAMI_RULES(X)
#undef X
};

const gchar *
sami_rule_id(guint rule)
{
    return rules[rule < SAMI_N_RULES ? rule : 0].id;
}

const gchar *
sami_rule_source(guint rule)
{
    return rules[rule < SAMI_N_RULES ? rule : 0].source;
}

const gchar *
sami_rule_text(guint rule)
{
    return rules[rule < SAMI_N_RULES ? rule : 0].text;
}

guint
sami_rule_where(guint rule)
{
    return rules[rule < SAMI_N_RULES ? rule : 0].where;
}

gchar *
sami_rule_say_va(SamiRule rule, const gchar *format, va_list args)
{
    g_autofree gchar *found = g_strdup_vprintf(format, args);
    return g_strdup_printf("%s: %s (%s)", rules[rule].id, found, rules[rule].source);
}

gchar *
sami_rule_say(SamiRule rule, const gchar *format, ...)
{
    va_list args;
    va_start(args, format);
    gchar *text = sami_rule_say_va(rule, format, args);
    va_end(args);
    return text;
}

gboolean
sami_rule_error(GError **error, SamiRule rule, const gchar *format, ...)
{
    va_list args;
    if (!error)
        return FALSE;
    va_start(args, format);
    g_autofree gchar *text = sami_rule_say_va(rule, format, args);
    va_end(args);
    g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, text);
    return FALSE;
}

SamiRule
sami_rule_find(const gchar *text)
{
    const gchar *end = text ? strstr(text, ": ") : NULL;
    for (guint i = 1; end && i < SAMI_N_RULES; i++)
        if (strlen(rules[i].id) == (gsize) (end - text) && memcmp(rules[i].id, text, (gsize) (end - text)) == 0)
            return (SamiRule) i;
    return SAMI_RULE_NONE;
}
