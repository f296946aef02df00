# Tests. Each file below is owned by what it tests; add programs to check_PROGRAMS and TESTS there.
EXTRA_PROGRAMS =
include tests/unit/common.mk
include tests/unit/templates.mk
include tests/unit/firewall.mk
include tests/unit/transport.mk
include tests/unit/exporter.mk
include tests/unit/collector.mk
include tests/unit/ctl.mk
include tests/unit/inject.mk
include tests/unit/rules.mk
include tests/unit/replay-send.mk
include tests/fuzz/fuzz.mk
include tests/tools/tools.mk
include tests/lint/lint.mk
include tests/replay/replay.mk
include tests/packaging/packaging.mk
include tests/interop/interop.mk
include tests/e2e/cases.mk
include tests/bench/bench.mk

# For ./run: everything that the tests need, and their names.
.PHONY: tests-build print-tests
tests-build: all # a make of its own: `all` is one too, and both would build the libraries at once
	@$(MAKE) $(AM_MAKEFLAGS) $(check_PROGRAMS) $(check_DATA)
print-tests:
	@printf '%s\n' $(TESTS)
TESTS += tests/sanitize.sh tests/sanitize-clang.sh
EXTRA_DIST += tests/check.sh tests/sanitize.sh tests/sanitize-clang.sh tests/coverage.sh tests/coverage.py tests/coverage.exceptions
