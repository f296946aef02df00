noinst_LIBRARIES += libcollector.a
libcollector_a_SOURCES = \
	collector/aftercare.c \
	collector/apply.c collector/apply-records.c collector/apply.h collector/apply-internal.h \
	collector/budget.c collector/budget.h \
	collector/check.c \
	collector/children.c \
	collector/collector.h \
	collector/conflict.c \
	collector/control.c \
	collector/cumulative.c \
	collector/expect.c collector/expect.h \
	collector/expectation.c \
	collector/gate.c \
	collector/host.c \
	collector/housekeeping.c \
	collector/injector.c collector/injector.h \
	collector/journal.c collector/journal.h \
	collector/kinds.c collector/kinds.h \
	collector/ledger.c collector/ledger.h \
	collector/ledger-file.c collector/ledger-file.h \
	collector/lesser.c \
	collector/machine.c collector/machine.h \
	collector/map.c collector/map.h \
	collector/metrics.c \
	collector/migration.c \
	collector/pair.c \
	collector/policy.c \
	collector/rate.c collector/rate.h \
	collector/receipt.c \
	collector/recovery.c \
	collector/replica.c collector/replica.h \
	collector/replication.c \
	collector/rollback.c \
	collector/session.c \
	collector/settle.c \
	collector/set-log.c collector/set-log.h \
	collector/share.c \
	collector/signers.c collector/signers.h \
	collector/state.c collector/state.h \
	collector/sync.c collector/sync.h \
	collector/totals.c collector/totals.h

sbin_PROGRAMS += sami-collector
sami_collector_SOURCES = collector/main.c
sami_collector_LDADD = libcollector.a $(SAMI_CORE_LIBS)
