# see tests/room.mk. With --enable-fuzzing each target is a libFuzzer program, which campaign.sh runs (./run fuzz).
# Otherwise it replays tests/fuzz/seeds/TARGET in the check.
# The most exposed first: what anybody or a peer can send, then what a process that was broken into can, then files and captures.
FUZZ_TARGETS = fuzz-signature fuzz-template fuzz-decode fuzz-session fuzz-collector fuzz-inject fuzz-receipt fuzz-exporter fuzz-frame fuzz-gate fuzz-control fuzz-config fuzz-peer-file \
	fuzz-ledger fuzz-file fuzz-recut fuzz-capture fuzz-packets fuzz-tls-decrypt fuzz-netlink fuzz-conntrackd \
	fuzz-answer
check_PROGRAMS += $(FUZZ_TARGETS) fuzz-seeds
EXTRA_DIST += tests/fuzz/seeds tests/fuzz/mutate.c tests/fuzz/campaign.sh tests/fuzz/campaigns.sh tests/fuzz/CAMPAIGNS
FUZZ_LIBS = $(SAMI_CORE_LIBS)
.PHONY: print-fuzz-targets
print-fuzz-targets:
	@echo $(FUZZ_TARGETS)

if FUZZING
FUZZ_FLAGS = -fsanitize=fuzzer
FUZZ_DRIVER = tests/fuzz/fuzz.h
FUZZ_MUTATOR = tests/fuzz/mutate.c
else
TESTS += $(FUZZ_TARGETS)
FUZZ_FLAGS =
FUZZ_DRIVER = tests/fuzz/fuzz.h tests/fuzz/replay.c
FUZZ_MUTATOR =
endif

fuzz_answer_SOURCES = tests/fuzz/answer.c tests/fuzz/parts.c $(FUZZ_DRIVER)
fuzz_answer_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS) -Wl,--wrap=sami_control_call
fuzz_answer_LDADD = libctl.a $(FUZZ_LIBS)
fuzz_capture_SOURCES = tests/fuzz/capture.c tests/fuzz/capture-reading.c $(FUZZ_DRIVER)
fuzz_capture_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_capture_LDADD = $(FUZZ_LIBS)
fuzz_collector_SOURCES = tests/fuzz/collector.c tests/fuzz/collector-parts.c tests/fuzz/collector.h tests/fuzz/parts.c tests/fuzz/stream.c $(FUZZ_MUTATOR) \
	$(FUZZ_DRIVER)
fuzz_collector_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_collector_LDADD = libcollector.a $(FUZZ_LIBS)
fuzz_config_SOURCES = tests/fuzz/config.c $(FUZZ_DRIVER)
fuzz_config_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_config_LDADD = $(FUZZ_LIBS)
fuzz_conntrackd_SOURCES = tests/fuzz/conntrackd.c $(FUZZ_DRIVER)
fuzz_conntrackd_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_conntrackd_LDADD = libctl.a $(FUZZ_LIBS)
fuzz_control_SOURCES = tests/fuzz/control.c $(FUZZ_DRIVER)
fuzz_control_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_control_LDADD = $(FUZZ_LIBS)
fuzz_decode_SOURCES = tests/fuzz/decode.c tests/fuzz/stream.c $(FUZZ_MUTATOR) $(FUZZ_DRIVER)
fuzz_decode_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_decode_LDADD = $(FUZZ_LIBS)
fuzz_exporter_SOURCES = tests/fuzz/exporter.c tests/fuzz/exporter-parts.c tests/fuzz/exporter.h tests/fuzz/parts.c tests/fuzz/stream.c $(FUZZ_MUTATOR) \
	$(FUZZ_DRIVER)
fuzz_exporter_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS) -Wl,--wrap=sami_firewall_linux_new,--wrap=sami_host_addresses,--wrap=sami_random \
	-Wl,--wrap=sami_exporter_events_since
fuzz_exporter_LDADD = libexporter.a $(FUZZ_LIBS)
fuzz_file_SOURCES = tests/fuzz/file.c $(FUZZ_DRIVER)
fuzz_file_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_file_LDADD = libreplay.a libcollector.a $(FUZZ_LIBS)
fuzz_frame_SOURCES = tests/fuzz/frame.c $(FUZZ_DRIVER)
fuzz_frame_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_frame_LDADD = $(FUZZ_LIBS)
fuzz_gate_SOURCES = tests/fuzz/gate.c $(FUZZ_DRIVER)
fuzz_gate_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_gate_LDADD = $(FUZZ_LIBS)
fuzz_inject_SOURCES = tests/fuzz/inject.c tests/fuzz/stream.c $(FUZZ_MUTATOR) $(FUZZ_DRIVER)
fuzz_inject_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_inject_LDADD = libreplay.a libcollector.a $(FUZZ_LIBS)
fuzz_ledger_SOURCES = tests/fuzz/ledger.c $(FUZZ_DRIVER)
fuzz_ledger_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_ledger_LDADD = libcollector.a $(FUZZ_LIBS)
fuzz_netlink_SOURCES = tests/fuzz/netlink.c $(FUZZ_DRIVER)
fuzz_netlink_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_netlink_LDADD = $(FUZZ_LIBS)
fuzz_packets_SOURCES = tests/fuzz/packets.c tests/fuzz/capture-reading.c tests/unit/capture-frames.c tests/unit/capture-frames.h $(FUZZ_DRIVER)
fuzz_packets_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_packets_LDADD = $(FUZZ_LIBS)
fuzz_peer_file_SOURCES = tests/fuzz/peer-file.c $(FUZZ_DRIVER)
fuzz_peer_file_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_peer_file_LDADD = $(FUZZ_LIBS)
fuzz_receipt_SOURCES = tests/fuzz/receipt.c tests/fuzz/stream.c $(FUZZ_MUTATOR) $(FUZZ_DRIVER)
fuzz_receipt_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_receipt_LDADD = $(FUZZ_LIBS)
fuzz_recut_SOURCES = tests/fuzz/recut.c $(FUZZ_DRIVER)
fuzz_recut_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_recut_LDADD = libreplay.a $(FUZZ_LIBS)
fuzz_session_SOURCES = tests/fuzz/session.c $(FUZZ_DRIVER)
fuzz_session_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_session_LDADD = $(FUZZ_LIBS)
fuzz_signature_SOURCES = tests/fuzz/signature.c $(FUZZ_DRIVER)
fuzz_signature_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_signature_LDADD = $(FUZZ_LIBS)
fuzz_template_SOURCES = tests/fuzz/template.c $(FUZZ_DRIVER)
fuzz_template_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_template_LDADD = $(FUZZ_LIBS)
fuzz_tls_decrypt_SOURCES = tests/fuzz/tls-decrypt.c tests/fuzz/tls-seal.c $(FUZZ_DRIVER)
fuzz_tls_decrypt_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_FLAGS)
fuzz_tls_decrypt_LDADD = $(FUZZ_LIBS)
fuzz_seeds_SOURCES = tests/fuzz/make-seeds.c tests/fuzz/parts.c tests/fuzz/fuzz.h tests/unit/capture-frames.c tests/unit/capture-frames.h
fuzz_seeds_LDADD = libcollector.a $(FUZZ_LIBS)
