noinst_LIBRARIES += libctl.a
libctl_a_SOURCES = \
	ctl/ctl.h ctl/expect.c \
	ctl/verbs.c ctl/call.c ctl/check.c ctl/print.c ctl/ask.c \
	ctl/setup.c ctl/policy.c ctl/own.c ctl/own.h ctl/key.c ctl/enrol.c ctl/enrol.h ctl/peer.c ctl/migrate.c ctl/wait.c ctl/replicate.c ctl/diff.c \
	ctl/import.c ctl/conntrackd-conf.c ctl/conntrackd-conf.h ctl/remote.c ctl/metrics.c

sbin_PROGRAMS += samictl
samictl_SOURCES = ctl/main.c
samictl_LDADD = libctl.a libtransport.a libtemplates.a libcommon.a \
	$(FIXBUF_LIBS) $(SSL_LIBS) $(JSON_LIBS) $(GLIB_LIBS) -lpthread
EXTRA_DIST += ctl/README

# The table of a manual page.
noinst_PROGRAMS += conntrackd-table
conntrackd_table_SOURCES = ctl/conntrackd-table.c
conntrackd_table_LDADD = libctl.a libcommon.a $(GLIB_LIBS)
