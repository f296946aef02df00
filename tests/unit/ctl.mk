check_PROGRAMS += test-conntrackd
TESTS += test-conntrackd
test_conntrackd_SOURCES = tests/unit/test-conntrackd.c tests/unit/harness.h
test_conntrackd_LDADD = libctl.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
EXTRA_DIST += tests/data/conntrackd/links.conf tests/data/conntrackd/links.keys tests/data/conntrackd/lossy.conf \
	tests/data/conntrackd/lossy.keys
