check_PROGRAMS += test-collector test-ledger-file
TESTS += test-collector test-ledger-file
test_collector_SOURCES = tests/unit/test-collector.c tests/unit/harness.h
test_collector_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
test_ledger_file_SOURCES = tests/unit/test-ledger-file.c tests/unit/harness.h
test_ledger_file_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
check_PROGRAMS += test-replica
TESTS += test-replica
test_replica_SOURCES = tests/unit/test-replica.c tests/unit/harness.h
test_replica_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

check_PROGRAMS += test-apply test-apply-expected test-conflict
TESTS += test-apply test-apply-expected test-conflict
test_apply_SOURCES = tests/unit/test-apply.c tests/unit/apply-lab.c tests/unit/apply-lab.h tests/unit/harness.h
test_apply_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
test_apply_expected_SOURCES = tests/unit/test-apply-expected.c tests/unit/apply-lab.c tests/unit/apply-lab.h tests/unit/harness.h
test_apply_expected_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
test_conflict_SOURCES = tests/unit/test-conflict.c tests/unit/apply-lab.c tests/unit/apply-lab.h tests/unit/harness.h
test_conflict_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

# Source and sink in one program; what is between them is left out.
check_PROGRAMS += test-cumulative
TESTS += test-cumulative
test_cumulative_SOURCES = tests/unit/test-cumulative.c tests/unit/harness.h
test_cumulative_LDADD = libcollector.a libexporter.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

check_PROGRAMS += test-map
TESTS += test-map
test_map_SOURCES = tests/unit/test-map.c tests/unit/harness.h
test_map_LDADD = libexporter.a libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

check_PROGRAMS += test-policy
TESTS += test-policy
test_policy_SOURCES = tests/unit/test-policy.c tests/unit/harness.h
test_policy_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

# Of all rooms that judge a peer.
check_PROGRAMS += test-refusals
TESTS += test-refusals
test_refusals_SOURCES = tests/unit/test-refusals.c tests/unit/harness.h
test_refusals_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

check_PROGRAMS += test-refused-records
TESTS += test-refused-records
test_refused_records_SOURCES = tests/unit/test-refused-records.c tests/unit/harness.h
test_refused_records_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

# The whole state process, without its other one and the kernel.
check_PROGRAMS += test-collector-faults test-collector-peers
TESTS += test-collector-faults test-collector-peers
collector_lab_sources = tests/unit/collector-lab.c tests/unit/collector-lab.h tests/fuzz/collector-parts.c tests/fuzz/collector.h tests/fuzz/parts.c \
	tests/unit/harness.h
test_collector_faults_SOURCES = tests/unit/test-collector-faults.c $(collector_lab_sources)
test_collector_faults_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
test_collector_peers_SOURCES = tests/unit/test-collector-peers.c $(collector_lab_sources)
test_collector_peers_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
