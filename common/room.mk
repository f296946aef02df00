noinst_LIBRARIES += libcommon.a
libcommon_a_SOURCES = \
	common/error.c common/error.h \
	common/limits.h common/cursor.h \
	common/loop.c common/loop.h common/passing.c common/passing.h \
	common/trust.c common/trust.h \
	common/value.c common/value.h \
	common/pairs.c common/pairs.h \
	common/vlans.c common/vlans.h \
	common/config.c common/config.h common/config-keys.c common/config-keys.h \
	common/control.c common/control-call.c common/control.h common/control-json.h common/control-request.c \
	common/status.c common/status.h \
	common/metrics.c common/metrics.h \
	common/log.c common/log.h
EXTRA_DIST += common/README
