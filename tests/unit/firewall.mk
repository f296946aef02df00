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
EXTRA_DIST += tests/data/flowtable/tcp.nlmsg tests/data/flowtable/tcp.txt tests/data/flowtable/tcp-snat.nlmsg tests/data/flowtable/tcp-snat.txt \
	tests/data/flowtable/udp6.nlmsg tests/data/flowtable/udp6.txt tests/data/flowtable/make.py

check_PROGRAMS += test-gate
TESTS += test-gate
test_gate_SOURCES = tests/unit/test-gate.c tests/unit/harness.h
test_gate_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

check_PROGRAMS += test-sets
TESTS += test-sets
test_sets_SOURCES = tests/unit/test-sets.c tests/unit/harness.h
test_sets_LDADD = $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

check_PROGRAMS += test-shares
TESTS += test-shares
test_shares_SOURCES = tests/unit/test-shares.c tests/unit/harness.h
test_shares_LDADD = $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

check_PROGRAMS += test-host
TESTS += test-host
test_host_SOURCES = tests/unit/test-host.c tests/unit/harness.h
test_host_LDADD = libexporter.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
