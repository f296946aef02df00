/* The text that Prometheus reads: order, types, escapes, histograms, series that are there twice, samples that are none. */
#include <string.h>

#include "common/control-json.h"
#include "common/metrics.h"
#include "tests/unit/harness.h"

static void
check_print(JsonArray *samples, const gchar *want)
{
    g_autoptr(GError) error = NULL;
    g_autofree gchar *text = sami_metrics_print(samples, &error);
    CU_ASSERT_PTR_NOT_NULL(text);
    CU_ASSERT_STRING_EQUAL(text ? text : error->message, want);
}

static void
test_text(void)
{
    g_autoptr(JsonArray) samples = json_array_new();
    check_print(samples, "");
    sami_metrics_add(samples, SAMI_METRIC_LAG, 0.0125, SAMI_LABELS("peer", "fw2.example"));
    sami_metrics_add(samples, SAMI_METRIC_MIGRATIONS, 3e15, SAMI_LABELS("role", "exporter", "result", "done"));
    sami_metrics_add(samples, SAMI_METRIC_LAG, 2, SAMI_LABELS("peer", "a\"b\\c\nd"));
    sami_metrics_add(samples, SAMI_METRIC_MIGRATIONS, 0, SAMI_LABELS("role", "exporter", "result", "failed"));
    sami_metrics_add(samples, SAMI_METRIC_MIGRATIONS, 7, SAMI_LABELS("role", "exporter", "result", "done")); /* there already */
    check_print(samples, "# HELP sami_migrations_total Migrations and streams of replications that have ended, by role and result.\n"
                         "# TYPE sami_migrations_total counter\n"
                         "sami_migrations_total{role=\"exporter\",result=\"done\"} 3000000000000000\n"
                         "sami_migrations_total{role=\"exporter\",result=\"failed\"} 0\n"
                         "# HELP sami_replication_lag_seconds From a change here to its place in the kernel of the standby.\n"
                         "# TYPE sami_replication_lag_seconds gauge\n"
                         "sami_replication_lag_seconds{peer=\"fw2.example\"} 0.0125\n"
                         "sami_replication_lag_seconds{peer=\"a\\\"b\\\\c\\nd\"} 2\n");
}

static void
test_histogram(void)
{
    g_autoptr(JsonArray) samples = json_array_new();
    SamiHistogram histogram = {0};
    sami_histogram_observe(&histogram, 0.001); /* le: less or equal */
    sami_histogram_observe(&histogram, 0.0011);
    sami_histogram_observe(&histogram, 10);
    sami_histogram_observe(&histogram, 11);
    sami_metrics_add_histogram(samples, SAMI_METRIC_FREEZE_READY, &histogram);
    g_autofree gchar *text = sami_metrics_print(samples, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    static const gchar *const lines[] = {
        "# TYPE sami_freeze_ready_seconds histogram\n",
        "\nsami_freeze_ready_seconds_bucket{le=\"0.001\"} 1\n",
        "\nsami_freeze_ready_seconds_bucket{le=\"0.0025\"} 2\n",
        "\nsami_freeze_ready_seconds_bucket{le=\"5\"} 2\n",
        "\nsami_freeze_ready_seconds_bucket{le=\"10\"} 3\n",
        "\nsami_freeze_ready_seconds_bucket{le=\"+Inf\"} 4\n",
        "\nsami_freeze_ready_seconds_sum 21.0021\n",
        "\nsami_freeze_ready_seconds_count 4\n",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(lines); i++)
        CU_ASSERT_PTR_NOT_NULL(strstr(text, lines[i]));
}

static void
test_bad(void)
{
    static const gchar *const bad[] = {
        "{\"samples\":[7]}",
        "{\"samples\":[{}]}",
        "{\"samples\":[{\"metric\":\"sami_other\",\"suffix\":\"\",\"labels\":{},\"value\":1}]}",
        "{\"samples\":[{\"metric\":\"sami_build_info\",\"labels\":{},\"value\":1}]}",
        "{\"samples\":[{\"metric\":\"sami_build_info\",\"suffix\":\" 1\\n\",\"labels\":{},\"value\":1}]}",
        "{\"samples\":[{\"metric\":\"sami_build_info\",\"suffix\":\"\",\"labels\":[],\"value\":1}]}",
        "{\"samples\":[{\"metric\":\"sami_build_info\",\"suffix\":\"\",\"labels\":{\"a b\":\"x\"},\"value\":1}]}",
        "{\"samples\":[{\"metric\":\"sami_build_info\",\"suffix\":\"\",\"labels\":{\"\":\"x\"},\"value\":1}]}",
        "{\"samples\":[{\"metric\":\"sami_build_info\",\"suffix\":\"\",\"labels\":{\"a\":1},\"value\":1}]}",
        "{\"samples\":[{\"metric\":\"sami_build_info\",\"suffix\":\"\",\"labels\":{},\"value\":\"1\"}]}",
        "{\"samples\":[{\"metric\":\"sami_build_info\",\"suffix\":\"\",\"labels\":{}}]}",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonObject) object = sami_control_json_parse(bad[i], strlen(bad[i]), NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(object);
        g_autofree gchar *text = sami_metrics_print(json_object_get_array_member(object, "samples"), &error);
        CU_ASSERT_PTR_NULL(text);
        CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED));
    }
}

int
main(void)
{
    static const SamiTest tests[] = {{"text", test_text}, {"histogram", test_histogram}, {"samples that are none", test_bad}};
    return sami_test_main("metrics", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
