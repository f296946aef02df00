noinst_LIBRARIES += libtransport.a
libtransport_a_SOURCES = \
	transport/session.c transport/session.h transport/session-pair.h \
	transport/channel.c \
	transport/network.h \
	transport/network-process.c transport/network-process.h \
	transport/listener.c transport/connector.c \
	transport/tls-certificate.c transport/tls-certificate.h \
	transport/tls-context.c transport/tls-context.h transport/tls-explain.c transport/tls-excess.c \
	transport/tls-connection.c transport/tls-connection.h \
	transport/tls-decrypt.c transport/tls-decrypt.h \
	transport/tls-key-log.c transport/tls-key-log.h \
	transport/tls-memory.c transport/tls-memory.h \
	transport/tls-record.c transport/tls-record.h transport/tls-secrets.c transport/tls-secrets.h \
	transport/tcp.c transport/tcp.h \
	transport/tls-wire.h transport/tls-tcp.c \
	transport/dtls-sctp.c transport/dtls-gate.c transport/dtls-gate.h \
	transport/sctp.c transport/sctp.h transport/sctp-backend.h \
	transport/sctp-userland.c transport/sctp-kernel.c \
	transport/sctp-udp.c transport/sctp-udp.h \
	transport/sctp-lanes.c transport/sctp-lanes.h \
	transport/address.c transport/address.h \
	transport/privileges.c transport/privileges.h \
	transport/reload.c transport/reload.h \
	transport/sandbox.c transport/sandbox-calls.c transport/sandbox.h \
	transport/pki.c transport/pki.h transport/peer-file.c \
	transport/daemon.c transport/daemon.h \
	transport/input.c transport/input.h \
	transport/capture.c transport/capture.h \
	transport/capture-common.c transport/capture-common.h \
	transport/capture-packet.c transport/capture-packet.h \
	transport/capture-fragments.c transport/capture-fragments.h \
	transport/capture-flows.c transport/capture-flows.h \
	transport/capture-dispatch.c transport/capture-dispatch.h \
	transport/capture-tcp.c transport/capture-tcp.h \
	transport/capture-segments.c transport/capture-segments.h \
	transport/capture-content.c transport/capture-content.h \
	transport/capture-cutter.c transport/capture-cutter.h \
	transport/capture-sctp.c transport/capture-sctp.h \
	transport/capture-messages.c transport/capture-messages.h
EXTRA_DIST += transport/README
