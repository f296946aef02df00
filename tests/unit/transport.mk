check_PROGRAMS += test-pki test-transport-frames test-transport-tls
TESTS += test-pki test-transport-frames test-transport-tls

transport_test_libs = libtransport.a libcommon.a $(CUNIT_LIBS) $(SSL_LIBS) $(JSON_LIBS) $(GLIB_LIBS) -lpthread

test_pki_SOURCES = tests/unit/test-pki.c tests/unit/harness.h
test_pki_LDADD = $(transport_test_libs)

test_transport_frames_SOURCES = tests/unit/test-transport-frames.c tests/unit/harness.h
test_transport_frames_LDADD = $(transport_test_libs)

test_transport_tls_SOURCES = tests/unit/test-transport-tls.c tests/unit/transport-lab.c \
	tests/unit/transport-lab.h tests/unit/harness.h
test_transport_tls_LDADD = $(transport_test_libs)
