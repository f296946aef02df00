noinst_LIBRARIES += libfirewall.a
libfirewall_a_SOURCES = \
	firewall/attributes.c firewall/attributes.h \
	firewall/dump.c \
	firewall/events.c \
	firewall/fake.c firewall/fake.h \
	firewall/firewall.c firewall/firewall.h \
	firewall/linux.c \
	firewall/ops.h
EXTRA_DIST += firewall/README
