noinst_LIBRARIES += libctl.a
libctl_a_SOURCES = \
	ctl/ctl.h \
	ctl/verbs.c ctl/call.c ctl/print.c ctl/ask.c \
	ctl/setup.c ctl/peer.c ctl/migrate.c

sbin_PROGRAMS += samictl
samictl_SOURCES = ctl/main.c
samictl_LDADD = libctl.a libtransport.a libtemplates.a libcommon.a \
	$(FIXBUF_LIBS) $(SSL_LIBS) $(JSON_LIBS) $(GLIB_LIBS) -lpthread
EXTRA_DIST += ctl/README
