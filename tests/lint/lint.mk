# see tests/room.mk
LINT_TESTS = tests/lint/includes.sh tests/lint/rooms.sh
TESTS += $(LINT_TESTS)
EXTRA_DIST += $(LINT_TESTS)
