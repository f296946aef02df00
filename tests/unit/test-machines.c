/* Every state x every event of both ends against a golden text, and what must hold of any table. */
#include "collector/machine.h"
#include "exporter/machine.h"
#include "tests/unit/harness.h"

static void
test_golden(void)
{
    const gchar *top = g_getenv("srcdir");
    g_autofree gchar *file = g_build_filename(top ? top : ".", "tests", "data", "machines.txt", NULL);
    g_autofree gchar *golden = NULL;
    GString *text = g_string_new(NULL);
    for (guint state = 0; state < SAMI_N_STATES; state++)
        for (guint event = 0; event < SAMI_N_EVENTS; event++) {
            SamiExporterState next;
            gboolean is_moved = sami_exporter_next((SamiExporterState) state, (SamiExporterEvent) event, &next);
            g_string_append_printf(text, "exporter %s + %s: %s\n", sami_exporter_state_name((SamiExporterState) state),
                                   sami_exporter_event_name((SamiExporterEvent) event),
                                   is_moved ? sami_exporter_state_name(next) : "-");
        }
    for (guint phase = 0; phase < SAMI_N_PHASES; phase++)
        for (guint event = 0; event < SAMI_N_ON; event++) {
            SamiCollectorPhase next;
            gboolean is_moved = sami_collector_next((SamiCollectorPhase) phase, (SamiCollectorEvent) event, &next);
            g_string_append_printf(text, "collector %s + %s: %s\n", sami_collector_phase_name((SamiCollectorPhase) phase),
                                   sami_collector_event_name((SamiCollectorEvent) event),
                                   is_moved ? sami_collector_phase_name(next) : "-");
        }
    g_file_get_contents(file, &golden, NULL, NULL);
    CU_ASSERT_PTR_NOT_NULL(golden);
    gboolean is_equal = g_strcmp0(golden, text->str) == 0;
    if (!is_equal)
        g_printerr("%s", text->str);
    CU_ASSERT_TRUE(is_equal);
    g_string_free(text, TRUE);
}

/* LIFECYCLE §1: after READY nothing rolls back by itself, and no failure is an end that says so. */
static void
test_decision(void)
{
    static const SamiExporterState decided[] = { SAMI_STATE_READY, SAMI_STATE_SETTLE };
    for (guint i = 0; i < G_N_ELEMENTS(decided); i++)
        for (guint event = 0; event < SAMI_N_EVENTS; event++) {
            SamiExporterState next;
            if (!sami_exporter_next(decided[i], (SamiExporterEvent) event, &next))
                continue;
            CU_ASSERT_NOT_EQUAL(next, SAMI_STATE_FAILED);
            CU_ASSERT_NOT_EQUAL(next, SAMI_STATE_ABORTED);
            CU_ASSERT_NOT_EQUAL(next, SAMI_STATE_ABORT);
        }
    /* The same at the destination: only an explicit decision leads from READY to ROLLBACK. */
    static const SamiCollectorEvent by_itself[] = { SAMI_ON_ABORT, SAMI_ON_LEASE, SAMI_ON_RESTART, SAMI_ON_FAILURE };
    for (guint phase = SAMI_PHASE_READY; phase < SAMI_N_PHASES; phase++)
        for (guint i = 0; i < G_N_ELEMENTS(by_itself); i++) {
            SamiCollectorPhase next;
            if (phase != SAMI_PHASE_ROLLBACK && sami_collector_next((SamiCollectorPhase) phase, by_itself[i], &next))
                CU_ASSERT_NOT_EQUAL(next, SAMI_PHASE_ROLLBACK);
        }
    for (guint state = 0; state < SAMI_N_STATES; state++)
        CU_ASSERT_EQUAL(sami_exporter_is_over((SamiExporterState) state),
                        state == SAMI_STATE_DONE || state >= SAMI_STATE_ABORTED);
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "every state, every event", test_golden },
        { "nothing undoes READY by itself", test_decision },
    };
    return sami_test_main("machines", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
