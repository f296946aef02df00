check_PROGRAMS += test-config test-control test-metrics
TESTS += test-config test-control test-metrics

test_metrics_SOURCES = tests/unit/test-metrics.c tests/unit/harness.h
test_metrics_LDADD = libcommon.a $(CUNIT_LIBS) $(JSON_LIBS) $(GLIB_LIBS)

test_config_SOURCES = tests/unit/test-config.c tests/unit/harness.h
test_config_LDADD = libcommon.a $(CUNIT_LIBS) $(JSON_LIBS) $(GLIB_LIBS)

test_control_SOURCES = tests/unit/test-control.c tests/unit/harness.h
test_control_LDADD = libcommon.a $(CUNIT_LIBS) $(JSON_LIBS) $(GLIB_LIBS) -lpthread
