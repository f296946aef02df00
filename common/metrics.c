#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "common/metrics.h"

#include <math.h>
#include <string.h>

#include "common/control-json.h"

static const struct {
    const gchar *name, *type, *help;
} metrics[] = {
#define X(id, name, type, help) {name, type, help},
    SAMI_METRICS(X)
#undef X
};

static const gdouble bounds[] = {SAMI_HISTOGRAM_BOUNDS};

/* --- samples --- */

static JsonObject *
add(JsonArray *samples, SamiMetric metric, const gchar *suffix, gdouble value)
{
    JsonObject *sample = json_object_new();
    json_object_set_string_member(sample, "metric", metrics[metric].name);
    json_object_set_string_member(sample, "suffix", suffix);
    json_object_set_object_member(sample, "labels", json_object_new());
    json_object_set_double_member(sample, "value", value);
    json_array_add_object_element(samples, sample);
    return json_object_get_object_member(sample, "labels");
}

void
sami_metrics_add(JsonArray *samples, SamiMetric metric, gdouble value, const gchar *const *labels)
{
    JsonObject *object = add(samples, metric, "", value);
    for (gsize i = 0; labels && labels[i]; i += 2)
        json_object_set_string_member(object, labels[i], labels[i + 1]);
}

void
sami_metrics_add_build(JsonArray *samples, const gchar *role)
{
    sami_metrics_add(samples, SAMI_METRIC_BUILD, 1, SAMI_LABELS("role", role, "version", PACKAGE_VERSION));
}

void
sami_histogram_observe(SamiHistogram *histogram, gdouble seconds)
{
    gsize i = 0;
    while (i < G_N_ELEMENTS(bounds) && seconds > bounds[i])
        i++;
    histogram->n[i]++;
    histogram->sum += seconds;
}

void
sami_metrics_add_histogram(JsonArray *samples, SamiMetric metric, const SamiHistogram *histogram)
{
    guint64 n = 0;
    for (gsize i = 0; i <= G_N_ELEMENTS(bounds); i++) {
        gchar text[G_ASCII_DTOSTR_BUF_SIZE] = "+Inf";
        if (i < G_N_ELEMENTS(bounds))
            g_ascii_formatd(text, sizeof text, "%g", bounds[i]);
        n += histogram->n[i];
        json_object_set_string_member(add(samples, metric, "_bucket", (gdouble)n), "le", text);
    }
    add(samples, metric, "_sum", histogram->sum);
    add(samples, metric, "_count", (gdouble)n);
}

/* --- text --- */

/* A word of the format: a name of a label, or of a suffix behind a metric. */
static gboolean
is_word(const gchar *text)
{
    return !text[strspn(text, "abcdefghijklmnopqrstuvwxyz_")];
}

static gboolean
print_labels(GString *text, JsonObject *labels)
{
    g_autoptr(GList) names = json_object_get_members(labels);
    const gchar *separator = "{";
    for (GList *at = names; at; at = at->next) {
        const gchar *value = sami_control_json_string(labels, at->data);
        if (!value || !*(const gchar *)at->data || !is_word(at->data))
            return FALSE;
        g_string_append_printf(text, "%s%s=\"", separator, (const gchar *)at->data);
        for (; *value; value++) {
            if (*value == '\\' || *value == '"')
                g_string_append_c(text, '\\');
            g_string_append(text, *value == '\n' ? "\\n" : (gchar[]){*value, '\0'});
        }
        g_string_append_c(text, '"');
        separator = ",";
    }
    g_string_append(text, names ? "}" : "");
    return TRUE;
}

/* The series of a sample, as "name{labels}". NULL if it is none. (transfer full) */
static gchar *
print_series(JsonObject *sample, const gchar *name)
{
    g_autoptr(GString) text = g_string_new(name);
    const gchar *suffix = sami_control_json_string(sample, "suffix");
    JsonNode *labels = json_object_get_member(sample, "labels");
    if (!suffix || !is_word(suffix) || !labels || !JSON_NODE_HOLDS_OBJECT(labels))
        return NULL;
    g_string_append(text, suffix);
    if (!print_labels(text, json_node_get_object(labels)))
        return NULL;
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static gboolean
print_sample(GString *text, JsonObject *sample, const gchar *name, GHashTable *seen)
{
    gchar number[G_ASCII_DTOSTR_BUF_SIZE];
    JsonNode *node = json_object_get_member(sample, "value");
    gchar *series = print_series(sample, name);
    GType type = node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_value_type(node) : G_TYPE_INVALID;
    if (!series || (type != G_TYPE_DOUBLE && type != G_TYPE_INT64)) {
        g_free(series);
        return FALSE;
    }
    gdouble value = json_node_get_double(node);
    /* Whole numbers in full: 2^53 is far away. */
    g_ascii_formatd(number, sizeof number, value == floor(value) ? "%.0f" : "%.9g", value);
    if (!g_hash_table_contains(seen, series))
        g_string_append_printf(text, "%s %s\n", series, number);
    g_hash_table_add(seen, series);
    return TRUE;
}

static gint
find(const gchar *name)
{
    for (gsize i = 0; name && i < G_N_ELEMENTS(metrics); i++)
        if (!strcmp(metrics[i].name, name))
            return (gint)i;
    return -1;
}

gchar *
sami_metrics_print(JsonArray *samples, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    guint n_samples = json_array_get_length(samples), n_printed = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(metrics); i++) {
        gboolean is_first = TRUE;
        for (guint k = 0; k < n_samples; k++) {
            JsonNode *node = json_array_get_element(samples, k);
            JsonObject *sample = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
            if (!sample || find(sami_control_json_string(sample, "metric")) != (gint)i)
                continue;
            if (is_first)
                g_string_append_printf(text, "# HELP %s %s\n# TYPE %s %s\n", metrics[i].name, metrics[i].help, metrics[i].name, metrics[i].type);
            is_first = FALSE;
            n_printed += print_sample(text, sample, metrics[i].name, seen);
        }
    }
    if (n_printed < n_samples) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "%u of %u samples are none that this version knows", n_samples - n_printed, n_samples);
        return NULL;
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}
