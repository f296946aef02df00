# sources of man/
dist_man_MANS += man/samictl.8 man/sami.conf.5 man/sami-replay.1

dist_man_MANS += man/sami-exporter.8
nodist_man_MANS = man/sami-protocol.7 man/sami-collector.8 man/sami-conntrackd.7
EXTRA_DIST += man/sami-protocol.7.in man/sami-collector.8.in man/sami-conntrackd.7.in man/attributes.txt
CLEANFILES += man/sami-protocol.7 man/sami-collector.8 man/sami-elements.xml man/sami-conntrackd.7

# The tables of the protocol page and the registry for other collectors come from the code's own tables; that of the attributes is measured, and
# written by tests/interop/attributes.sh --write.
noinst_PROGRAMS += protocol-tables
protocol_tables_SOURCES = man/protocol-tables.c
protocol_tables_LDADD = libexporter.a libcollector.a $(SAMI_CORE_LIBS)

nodist_pkgdata_DATA = man/sami-elements.xml

man/sami-protocol.7: $(srcdir)/man/sami-protocol.7.in $(srcdir)/man/attributes.txt protocol-tables$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) man && ./protocol-tables$(EXEEXT) > man/tables.tmp && \
	sed -e '/^@ATTRIBUTES@$$/{r $(srcdir)/man/attributes.txt' -e 'd}' -e '/^@TABLES@$$/{r man/tables.tmp' -e 'd}' $(srcdir)/man/sami-protocol.7.in > $@ && rm -f man/tables.tmp

man/sami-collector.8: $(srcdir)/man/sami-collector.8.in protocol-tables$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) man && ./protocol-tables$(EXEEXT) --rules > man/rules.tmp && \
	sed -e '/^@RULES@$$/{r man/rules.tmp' -e 'd}' $(srcdir)/man/sami-collector.8.in > $@ && rm -f man/rules.tmp

man/sami-conntrackd.7: $(srcdir)/man/sami-conntrackd.7.in conntrackd-table$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) man && ./conntrackd-table$(EXEEXT) > man/conntrackd.tmp && \
	sed -e '/^@TABLE@$$/{r man/conntrackd.tmp' -e 'd}' $(srcdir)/man/sami-conntrackd.7.in > $@ && rm -f man/conntrackd.tmp

man/sami-elements.xml: protocol-tables$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) man && ./protocol-tables$(EXEEXT) --xml > $@
dist_man_MANS += man/sami-vmstate.8
dist_man_MANS += man/sami-virsh-migrate.8
