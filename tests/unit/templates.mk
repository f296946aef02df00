check_PROGRAMS += test-codec
TESTS += test-codec
test_codec_SOURCES = tests/unit/test-codec.c tests/unit/harness.h
test_codec_LDADD = $(SAMI_CORE_LIBS) $(CUNIT_LIBS)
