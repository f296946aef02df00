# Tests. Each file below is owned by what it tests; add programs to check_PROGRAMS and TESTS there.
EXTRA_PROGRAMS =
include tests/unit/common.mk
include tests/unit/templates.mk
include tests/unit/firewall.mk
include tests/unit/transport.mk
include tests/lint/lint.mk
include tests/e2e/cases.mk
include tests/bench/bench.mk

# For ./run: everything that the tests need, and their names.
.PHONY: tests-build print-tests
tests-build: all $(check_PROGRAMS)
print-tests:
	@printf '%s\n' $(TESTS)
EXTRA_DIST += tests/check.sh
