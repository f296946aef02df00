noinst_LIBRARIES += libtemplates.a
libtemplates_a_SOURCES = \
	templates/session.c templates/session.h
