check_PROGRAMS += test-firewall
TESTS += test-firewall
test_firewall_SOURCES = tests/unit/test-firewall.c tests/unit/harness.h
test_firewall_LDADD = $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

# One list of cases, linked with each implementation; and the table of attributes.
check_PROGRAMS += test-firewall-attributes test-firewall-fake test-firewall-linux
TESTS += test-firewall-attributes test-firewall-fake test-firewall-linux
test_firewall_attributes_SOURCES = tests/unit/test-firewall-attributes.c tests/unit/harness.h
test_firewall_attributes_LDADD = $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
test_firewall_fake_SOURCES = tests/unit/test-firewall-fake.c tests/unit/test-firewall-cases.c \
	tests/unit/test-firewall.h tests/unit/harness.h
test_firewall_fake_LDADD = $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
test_firewall_linux_SOURCES = tests/unit/test-firewall-linux.c tests/unit/test-firewall-cases.c \
	tests/unit/test-firewall.h tests/unit/harness.h
test_firewall_linux_LDADD = $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
