check_PROGRAMS += test-codec test-stream
TESTS += test-codec test-stream
test_codec_SOURCES = tests/unit/test-codec.c tests/unit/harness.h
test_codec_LDADD = $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
test_stream_SOURCES = tests/unit/test-stream.c tests/unit/harness.h
test_stream_LDADD = $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
