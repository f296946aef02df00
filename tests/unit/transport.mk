check_PROGRAMS += test-pki test-transport-frames test-transport-tls test-transport-dtls test-transport-sctp test-transport-bare test-transport-kernel test-tls-decrypt
TESTS += test-pki test-transport-frames test-transport-tls test-transport-dtls test-transport-sctp test-transport-bare test-transport-kernel test-tls-decrypt

transport_test_libs = libtransport.a libtemplates.a libcommon.a $(CUNIT_LIBS) $(FIXBUF_LIBS) $(SSL_LIBS) $(USRSCTP_LIBS) $(PCAP_LIBS) $(SECCOMP_LIBS) $(JSON_LIBS) $(GLIB_LIBS) -lpthread

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
test_transport_sctp_SOURCES = tests/unit/test-transport-sctp.c tests/unit/sctp-weather.c tests/unit/sctp-weather.h tests/tools/sctp-checksum.h \
	$(transport_pair_sources)
test_transport_sctp_LDADD = $(transport_test_libs)
test_transport_kernel_SOURCES = tests/unit/test-transport-kernel.c tests/unit/transport-cases.c $(transport_pair_sources)
test_transport_kernel_LDADD = $(transport_test_libs)
test_transport_bare_SOURCES = tests/unit/test-transport-bare.c $(transport_pair_sources)
test_transport_bare_LDADD = $(transport_test_libs)

test_tls_decrypt_SOURCES = tests/unit/test-tls-decrypt.c tests/unit/tls-recording.c tests/unit/tls-recording.h tests/unit/harness.h
test_tls_decrypt_LDADD = $(transport_test_libs)

check_PROGRAMS += test-sctp-parts
TESTS += test-sctp-parts
test_sctp_parts_SOURCES = tests/unit/test-sctp-parts.c tests/unit/harness.h
test_sctp_parts_LDADD = $(transport_test_libs)

check_PROGRAMS += test-capture test-capture-tcp test-capture-sctp
TESTS += test-capture test-capture-tcp test-capture-sctp
capture_test_sources = tests/tools/sctp-checksum.h tests/unit/capture-frames.c tests/unit/capture-frames.h tests/unit/capture-check.c tests/unit/capture-check.h tests/unit/harness.h
test_capture_SOURCES = tests/unit/test-capture.c $(capture_test_sources)
test_capture_LDADD = $(transport_test_libs)
test_capture_tcp_SOURCES = tests/unit/test-capture-tcp.c tests/unit/tls-recording.c tests/unit/tls-recording.h $(capture_test_sources)
test_capture_tcp_LDADD = $(transport_test_libs)
test_capture_sctp_SOURCES = tests/unit/test-capture-sctp.c $(capture_test_sources)
test_capture_sctp_LDADD = $(transport_test_libs)

check_PROGRAMS += test-sandbox
TESTS += test-sandbox
test_sandbox_SOURCES = tests/unit/test-sandbox.c tests/unit/harness.h
test_sandbox_LDADD = $(transport_test_libs)

check_PROGRAMS += test-key-memory
TESTS += test-key-memory
test_key_memory_SOURCES = tests/unit/test-key-memory.c tests/unit/harness.h
test_key_memory_LDADD = $(SAMI_CORE_LIBS) $(CUNIT_LIBS)

# System calls that fail.
check_PROGRAMS += test-faults
TESTS += test-faults
test_faults_SOURCES = tests/unit/test-faults.c tests/unit/harness.h
test_faults_LDADD = $(transport_test_libs)
