noinst_LIBRARIES += libtemplates.a
libtemplates_a_SOURCES = \
	templates/addresses.c templates/addresses.h \
	templates/answer.c templates/answer.h \
	templates/expectation.c templates/expectation.h \
	templates/session.c templates/session.h \
	templates/elements.c templates/elements.h \
	templates/finding.c templates/finding.h \
	templates/records.h \
	templates/registry.c templates/registry.h \
	templates/rules.c templates/rules.h \
	templates/template.c templates/template.h \
	templates/timeouts.c templates/timeouts.h \
	templates/shim.c templates/shim.h \
	templates/private-key.c templates/private-key.h \
	templates/signature.c templates/signature.h \
	templates/codec.c templates/codec.h \
	templates/validate.c templates/validate.h \
	templates/stream.c templates/stream.h
