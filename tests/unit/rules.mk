# Every reason and Message rule.
check_PROGRAMS += test-reasons
TESTS += test-reasons
test_reasons_SOURCES = tests/unit/test-reasons.c tests/unit/apply-lab.c tests/unit/apply-lab.h tests/unit/harness.h
test_reasons_LDADD = libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

# Collector and sami-replay, side by side.
check_PROGRAMS += test-rules
TESTS += test-rules
test_rules_SOURCES = tests/unit/test-rules.c tests/fuzz/collector-parts.c tests/fuzz/collector.h tests/fuzz/parts.c tests/fuzz/fuzz.h tests/unit/harness.h
test_rules_LDADD = libreplay.a libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
EXTRA_DIST += tests/data/rules
