# Adapters: the token, the D-Bus helper against a peer that does what QEMU does, libvirt's wrapper and hook.
check_PROGRAMS += test-vmstate-token fake-qemu
test_vmstate_token_SOURCES = tests/packaging/test-vmstate-token.c tests/unit/harness.h
test_vmstate_token_LDADD = libvmstate.a libcommon.a $(CUNIT_LIBS) $(JSON_LIBS) $(GLIB_LIBS)
fake_qemu_SOURCES = tests/packaging/fake-qemu.c
fake_qemu_LDADD = $(GLIB_LIBS)

PACKAGING_TESTS = tests/packaging/vmstate.sh tests/packaging/libvirt.sh tests/packaging/retry.sh tests/packaging/keepalived.sh tests/packaging/completion.sh \
	tests/packaging/units.sh
TESTS += test-vmstate-token $(PACKAGING_TESTS)
EXTRA_DIST += $(PACKAGING_TESTS) tests/packaging/bus.sh tests/packaging/virsh tests/packaging/monitor.py
