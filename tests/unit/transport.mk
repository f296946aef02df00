check_PROGRAMS += test-pki test-transport-frames test-transport-tls test-transport-dtls test-transport-sctp test-transport-bare test-transport-kernel
TESTS += test-pki test-transport-frames test-transport-tls test-transport-dtls test-transport-sctp test-transport-bare test-transport-kernel

transport_test_libs = libtransport.a libcommon.a $(CUNIT_LIBS) $(SSL_LIBS) $(USRSCTP_LIBS) $(JSON_LIBS) $(GLIB_LIBS) -lpthread

test_pki_SOURCES = tests/unit/test-pki.c tests/unit/harness.h
test_pki_LDADD = $(transport_test_libs)

test_transport_frames_SOURCES = tests/unit/test-transport-frames.c tests/unit/harness.h
test_transport_frames_LDADD = $(transport_test_libs)

transport_pair_sources = tests/unit/transport-pair.c tests/unit/transport-pair.h tests/unit/transport-lab.c \
	tests/unit/transport-lab.h tests/unit/harness.h
test_transport_tls_SOURCES = tests/unit/test-transport-tls.c tests/unit/transport-cases.c $(transport_pair_sources)
test_transport_tls_LDADD = $(transport_test_libs)
test_transport_dtls_SOURCES = tests/unit/test-transport-dtls.c tests/unit/transport-cases.c $(transport_pair_sources)
test_transport_dtls_LDADD = $(transport_test_libs)
test_transport_sctp_SOURCES = tests/unit/test-transport-sctp.c tests/unit/sctp-weather.c tests/unit/sctp-weather.h \
	$(transport_pair_sources)
test_transport_sctp_LDADD = $(transport_test_libs)
test_transport_kernel_SOURCES = tests/unit/test-transport-kernel.c tests/unit/transport-cases.c $(transport_pair_sources)
test_transport_kernel_LDADD = $(transport_test_libs)
test_transport_bare_SOURCES = tests/unit/test-transport-bare.c $(transport_pair_sources)
test_transport_bare_LDADD = $(transport_test_libs)

check_PROGRAMS += test-sctp-parts
TESTS += test-sctp-parts
test_sctp_parts_SOURCES = tests/unit/test-sctp-parts.c tests/unit/harness.h
test_sctp_parts_LDADD = $(transport_test_libs)
