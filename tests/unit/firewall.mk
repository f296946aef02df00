check_PROGRAMS += test-firewall
TESTS += test-firewall
test_firewall_SOURCES = tests/unit/test-firewall.c tests/unit/harness.h
test_firewall_LDADD = $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
