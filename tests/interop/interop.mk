# IPFIX with programs of others, one script a program; those of conntrack are in tests/e2e/cases.mk.
INTEROP_TESTS = \
	tests/interop/python-ipfix.sh \
	tests/interop/tshark.sh \
	tests/interop/nfcapd.sh \
	tests/interop/nfacctd.sh \
	tests/interop/softflowd.sh \
	tests/interop/pmacctd.sh \
	tests/interop/foreign-refused.sh \
	tests/interop/forged-state.sh
TESTS += $(INTEROP_TESTS)
EXTRA_DIST += $(INTEROP_TESTS) tests/interop/foreign.sh tests/interop/foreign-flows.py tests/interop/packets.py tests/interop/python-ipfix.py \
	tests/interop/sender.py
