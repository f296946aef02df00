check_PROGRAMS += test-source
TESTS += test-source
test_source_SOURCES = tests/unit/test-source.c tests/unit/harness.h
test_source_LDADD = libexporter.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

check_PROGRAMS += test-filter
TESTS += test-filter
test_filter_SOURCES = tests/unit/test-filter.c tests/unit/harness.h
test_filter_LDADD = libexporter.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

check_PROGRAMS += test-machines
TESTS += test-machines
EXTRA_DIST += tests/data/machines.txt
test_machines_SOURCES = tests/unit/test-machines.c tests/unit/harness.h
test_machines_LDADD = libexporter.a libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
