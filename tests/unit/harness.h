/* What every CUnit program shares: a main that fails on failures and refuses a run of no tests. */
#pragma once

#include <CUnit/Basic.h>
#include <glib.h>

typedef struct {
    const gchar *name;
    CU_TestFunc func;
} SamiTest;

static inline int
sami_test_main(const gchar *suite, const SamiTest *tests, guint n, CU_InitializeFunc init, CU_CleanupFunc cleanup)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite s = CU_add_suite(suite, init, cleanup);
    for (guint i = 0; s && i < n; i++)
        if (!CU_add_test(s, tests[i].name, tests[i].func))
            return 2;
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    int failed = CU_get_number_of_failures() > 0 || CU_get_number_of_tests_run() == 0 ||
                 CU_get_number_of_suites_failed() > 0;
    CU_cleanup_registry();
    return failed ? 1 : 0;
}
