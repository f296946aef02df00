noinst_LIBRARIES += libexporter.a
libexporter_a_SOURCES = \
	exporter/answer.c \
	exporter/check.c \
	exporter/control.c \
	exporter/cumulative.c \
	exporter/dry-run.c \
	exporter/expectation.c \
	exporter/exporter.h \
	exporter/filter.c exporter/filter.h \
	exporter/ignore.c \
	exporter/kinds.c exporter/kinds.h \
	exporter/lenient.c \
	exporter/link.c \
	exporter/machine.c exporter/machine.h \
	exporter/metrics.c \
	exporter/migration.c exporter/migration-internal.h \
	exporter/probe.c \
	exporter/purge.c \
	exporter/replication.c \
	exporter/say.c \
	exporter/session.c \
	exporter/source.c exporter/source.h \
	exporter/state.c exporter/state.h \
	exporter/table.c \
	exporter/vlan.c

sbin_PROGRAMS += sami-exporter
sami_exporter_SOURCES = exporter/main.c
sami_exporter_LDADD = libexporter.a $(SAMI_CORE_LIBS)
