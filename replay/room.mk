noinst_LIBRARIES += libreplay.a
libreplay_a_SOURCES = \
	replay/cli.c replay/replay.h \
	replay/diff.c \
	replay/dump.c \
	replay/filter.c replay/filter.h \
	replay/inject-report.c \
	replay/inject.c replay/inject.h \
	replay/keys.c replay/keys.h \
	replay/names.c replay/names.h \
	replay/namespace.c replay/namespace.h \
	replay/order.c replay/order.h \
	replay/output-file.c replay/output-file.h \
	replay/pace.c replay/pace.h \
	replay/progress.c \
	replay/reader.c replay/reader.h \
	replay/record-sets.c replay/record-sets.h \
	replay/record.c \
	replay/recording.c replay/recording.h \
	replay/recut.c replay/recut.h \
	replay/selection.c replay/selection.h \
	replay/send.c replay/send.h replay/send-begin.c replay/send-migration.c replay/send-plain.c replay/send-say.c \
	replay/send-session.c replay/send-session.h \
	replay/stats.c \
	replay/strict.c replay/strict.h \
	replay/target.c replay/target.h \
	replay/validate.c \
	replay/value.c replay/value.h

bin_PROGRAMS += sami-replay
sami_replay_SOURCES = replay/main.c
sami_replay_LDADD = libreplay.a libcollector.a $(SAMI_CORE_LIBS)
EXTRA_DIST += replay/README
