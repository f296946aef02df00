noinst_LIBRARIES += libcollector.a
libcollector_a_SOURCES = \
	collector/apply.c collector/apply.h \
	collector/collector.h \
	collector/control.c \
	collector/injector.c collector/injector.h \
	collector/journal.c collector/journal.h \
	collector/ledger.c collector/ledger.h \
	collector/migration.c \
	collector/session.c \
	collector/signers.c collector/signers.h \
	collector/state.c collector/state.h

sbin_PROGRAMS += sami-collector
sami_collector_SOURCES = collector/main.c
sami_collector_LDADD = libcollector.a $(SAMI_CORE_LIBS)
