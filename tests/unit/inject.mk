check_PROGRAMS += test-inject
TESTS += test-inject
test_inject_SOURCES = tests/unit/test-inject.c tests/unit/harness.h
test_inject_LDADD = libreplay.a libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
