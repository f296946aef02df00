noinst_LIBRARIES += libfirewall.a
libfirewall_a_SOURCES = \
	firewall/attributes.c firewall/attributes.h \
	firewall/conntrackd.c firewall/conntrackd.h \
	firewall/dump.c \
	firewall/events.c \
	firewall/expect.c firewall/expect.h \
	firewall/expected.c \
	firewall/fake.c firewall/fake.h \
	firewall/firewall.c firewall/firewall.h \
	firewall/gate.c firewall/gate.h \
	firewall/host.c firewall/host.h \
	firewall/host-read.c \
	firewall/linux.c firewall/netlink.h \
	firewall/mapped-file.c firewall/mapped-file.h \
	firewall/nft.c firewall/nft.h \
	firewall/ops.h \
	firewall/origin.c firewall/origin.h \
	firewall/ruleset.c firewall/ruleset.h \
	firewall/sets.c firewall/sets.h \
	firewall/shares.c firewall/shares.h
EXTRA_DIST += firewall/README
