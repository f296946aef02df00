# sami-replay: its readers, and what it says of recorded files, word for word.
check_PROGRAMS += test-replay
TESTS += test-replay
test_replay_SOURCES = tests/unit/test-replay.c tests/unit/harness.h
test_replay_LDADD = libreplay.a libcollector.a $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

REPLAY_TESTS = tests/replay/golden.sh tests/replay/follow.sh tests/replay/streaming.sh tests/replay/rule-samples.sh
TESTS += $(REPLAY_TESTS)
dist_check_SCRIPTS += $(REPLAY_TESTS)
EXTRA_DIST += tests/replay/golden tests/replay/streaming.py tests/data/replay
