noinst_LIBRARIES += libreplay.a
libreplay_a_SOURCES = \
	replay/cli.c replay/replay.h \
	replay/diff.c \
	replay/dump.c \
	replay/filter.c replay/filter.h \
	replay/keys.c replay/keys.h \
	replay/names.c replay/names.h \
	replay/progress.c \
	replay/reader.c replay/reader.h \
	replay/stats.c \
	replay/strict.c replay/strict.h \
	replay/validate.c \
	replay/value.c replay/value.h

bin_PROGRAMS += sami-replay
sami_replay_SOURCES = replay/main.c
sami_replay_LDADD = libreplay.a libcollector.a $(SAMI_CORE_LIBS)
EXTRA_DIST += replay/README
