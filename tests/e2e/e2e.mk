# see tests/room.mk
check_PROGRAMS += traffic
traffic_SOURCES = tests/e2e/traffic.c
traffic_CPPFLAGS = -D_GNU_SOURCE
traffic_LDADD = $(GLIB_LIBS)

AM_TESTS_ENVIRONMENT = SAMI_BUILD='$(abs_top_builddir)'; export SAMI_BUILD;

E2E_CASES =
TESTS += $(E2E_CASES)
EXTRA_DIST += $(E2E_CASES) tests/e2e/testbed.sh tests/e2e/demonstrate.sh
