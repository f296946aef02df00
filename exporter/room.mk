noinst_LIBRARIES += libexporter.a
libexporter_a_SOURCES = \
	exporter/control.c \
	exporter/exporter.h \
	exporter/link.c \
	exporter/migration.c \
	exporter/source.c \
	exporter/state.c exporter/state.h

sbin_PROGRAMS += sami-exporter
sami_exporter_SOURCES = exporter/main.c
sami_exporter_LDADD = libexporter.a $(SAMI_CORE_LIBS)
