# End to end: real kernels, TLS and traffic in network namespaces.
TESTS += \
	tests/e2e/10-out.sh \
	tests/e2e/11-in.sh \
	tests/e2e/12-snat.sh \
	tests/e2e/13-dnat.sh \
	tests/e2e/14-masquerade.sh \
	tests/e2e/15-ipv6-out.sh \
	tests/e2e/16-ipv6-in.sh \
	tests/e2e/17-ipv6-snat.sh \
	tests/e2e/18-silent-entries.sh \
	tests/e2e/40-abort.sh \
	tests/e2e/41-orphan.sh \
	tests/e2e/42-conflict.sh \
	tests/e2e/43-policy.sh \
	tests/e2e/44-operator-errors.sh
TESTS += tests/interop/journal.sh
EXTRA_DIST += tests/interop/journal.sh \
	tests/e2e/10-out.sh tests/e2e/11-in.sh tests/e2e/12-snat.sh tests/e2e/13-dnat.sh tests/e2e/14-masquerade.sh \
	tests/e2e/15-ipv6-out.sh tests/e2e/16-ipv6-in.sh tests/e2e/17-ipv6-snat.sh tests/e2e/18-silent-entries.sh \
	tests/e2e/40-abort.sh tests/e2e/41-orphan.sh tests/e2e/42-conflict.sh tests/e2e/43-policy.sh \
	tests/e2e/44-operator-errors.sh \
	tests/e2e/testbed.sh tests/e2e/move.sh tests/e2e/demonstrate.sh tests/e2e/traffic.py
AM_TESTS_ENVIRONMENT = SAMI_BUILD=$(abs_builddir) srcdir=$(abs_srcdir) G_DEBUG=fatal-criticals; export SAMI_BUILD srcdir G_DEBUG;
