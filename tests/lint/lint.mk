# see tests/room.mk
LINT_TESTS = tests/lint/includes.sh tests/lint/listed.sh tests/lint/kinds.sh tests/lint/rules.sh tests/lint/shell.sh tests/lint/man.sh tests/lint/cppcheck.sh tests/lint/hardening.sh tests/lint/distcheck.sh \
	tests/lint/analyse.sh tests/lint/reproducible.sh
TESTS += $(LINT_TESTS)
EXTRA_DIST += $(LINT_TESTS) tests/lint/cppcheck.suppressions tests/lint/analyse.suppressions .clang-tidy
