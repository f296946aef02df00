# sources of man/
dist_man_MANS += man/samictl.8 man/sami.conf.5

dist_man_MANS += man/sami-exporter.8 man/sami-collector.8
nodist_man_MANS = man/sami-protocol.7
EXTRA_DIST += man/sami-protocol.7.in
CLEANFILES += man/sami-protocol.7 man/sami-elements.xml

# The tables of the protocol page and the registry for other collectors come from the code's own tables.
noinst_PROGRAMS += protocol-tables
protocol_tables_SOURCES = man/protocol-tables.c
protocol_tables_LDADD = $(SAMI_CORE_LIBS)

nodist_pkgdata_DATA = man/sami-elements.xml

man/sami-protocol.7: $(srcdir)/man/sami-protocol.7.in protocol-tables$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) man && ./protocol-tables$(EXEEXT) > man/tables.tmp && \
	sed -e '/^@TABLES@$$/{r man/tables.tmp' -e 'd}' $(srcdir)/man/sami-protocol.7.in > $@ && rm -f man/tables.tmp

man/sami-elements.xml: protocol-tables$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) man && ./protocol-tables$(EXEEXT) --xml > $@
