# End to end: real kernels, TLS and traffic in network namespaces.
check_PROGRAMS += traffic
traffic_SOURCES = tests/e2e/traffic.c
traffic_LDADD = $(GLIB_LIBS)

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
	tests/e2e/20-abort-leaves-nothing.sh \
	tests/e2e/21-orphaned-leaves-nothing.sh \
	tests/e2e/22-conflicts.sh \
	tests/e2e/23-policy.sh \
	tests/e2e/30-local-errors.sh
EXTRA_DIST += tests/e2e/[0-9]*.sh tests/e2e/testbed.sh tests/e2e/move.sh tests/e2e/demonstrate.sh tests/e2e/traffic.py
AM_TESTS_ENVIRONMENT = SAMI_BUILD=$(abs_builddir) srcdir=$(abs_srcdir) G_DEBUG=fatal-criticals; export SAMI_BUILD srcdir G_DEBUG;
EXTRA_DIST += tests/e2e/lab.sh tests/e2e/demo.sh
