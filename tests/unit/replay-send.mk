check_PROGRAMS += test-recut test-pace
TESTS += test-recut test-pace
test_recut_SOURCES = tests/unit/test-recut.c tests/unit/harness.h
test_recut_LDADD = libreplay.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
test_pace_SOURCES = tests/unit/test-pace.c tests/unit/harness.h
test_pace_LDADD = libreplay.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
