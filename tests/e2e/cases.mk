# End to end: real kernels, TLS and traffic in network namespaces. 1x one kind of flow, 3x faults, 4x conflicts and refusals, 5x size and
# operation, 6x configuration, 7x moves of many kinds, 8x replication, 9x kinds of state, 10x captures, 11x recorded state put back, 12x over SCTP,
# 13x what a signer may bring, 15x privileges, 16x attacks, 17x keys and who is believed.
E2E_TESTS = \
	tests/e2e/10-out.sh \
	tests/e2e/11-in.sh \
	tests/e2e/12-snat.sh \
	tests/e2e/13-dnat.sh \
	tests/e2e/14-masquerade.sh \
	tests/e2e/15-ipv6-out.sh \
	tests/e2e/16-ipv6-in.sh \
	tests/e2e/17-ipv6-snat.sh \
	tests/e2e/18-silent-entries.sh \
	tests/e2e/19-udp.sh \
	tests/e2e/20-ping.sh \
	tests/e2e/30-machine-crash.sh \
	tests/e2e/31-resume.sh \
	tests/e2e/32-crash.sh \
	tests/e2e/33-journal-full.sh \
	tests/e2e/34-overrun.sh \
	tests/e2e/35-thaw.sh \
	tests/e2e/36-leases.sh \
	tests/e2e/37-rollback.sh \
	tests/e2e/38-closing.sh \
	tests/e2e/39-slow-collector.sh \
	tests/e2e/40-abort.sh \
	tests/e2e/41-orphan.sh \
	tests/e2e/42-conflict.sh \
	tests/e2e/43-policy.sh \
	tests/e2e/44-operator-errors.sh \
	tests/e2e/45-refused.sh \
	tests/e2e/46-refused-outside.sh \
	tests/e2e/47-refused-table-full.sh \
	tests/e2e/48-ignored.sh \
	tests/e2e/49-plain.sh \
	tests/e2e/50-many.sh \
	tests/e2e/51-gate.sh \
	tests/e2e/52-collector-refused.sh \
	tests/e2e/53-collector-silent.sh \
	tests/e2e/54-collector-floods.sh \
	tests/e2e/55-command.sh \
	tests/e2e/59-session-age.sh \
	tests/e2e/60-limits.sh \
	tests/e2e/61-expect.sh \
	tests/e2e/62-reload.sh \
	tests/e2e/63-stop.sh \
	tests/e2e/64-hold-ready.sh \
	tests/e2e/65-remote.sh \
	tests/e2e/66-metrics.sh \
	tests/e2e/67-control-classes.sh \
	tests/e2e/70-vm.sh \
	tests/e2e/71-conflict-policies.sh \
	tests/e2e/72-there-and-back.sh \
	tests/e2e/73-both-ends.sh \
	tests/e2e/74-asymmetric-switch.sh \
	tests/e2e/75-purge.sh \
	tests/e2e/76-churn.sh \
	tests/e2e/77-dc-consolidation.sh \
	tests/e2e/78-night-consolidation.sh \
	tests/e2e/79-back-pressure.sh \
	tests/e2e/80-replicate.sh \
	tests/e2e/81-pair.sh \
	tests/e2e/82-pair-sync.sh \
	tests/e2e/83-second-address.sh \
	tests/e2e/84-replicate-filter.sh \
	tests/e2e/85-beside-conntrackd.sh \
	tests/e2e/86-import-conntrackd.sh \
	tests/e2e/87-vlan-zone.sh \
	tests/e2e/88-maps.sh \
	tests/e2e/89-vlan-policy.sh \
	tests/e2e/90-check.sh \
	tests/e2e/91-check-to.sh \
	tests/e2e/92-cumulative.sh \
	tests/e2e/93-cumulative-refused.sh \
	tests/e2e/94-ftp.sh \
	tests/e2e/95-tftp.sh \
	tests/e2e/96-related.sh \
	tests/e2e/97-other-protocols.sh \
	tests/e2e/98-attributes.sh \
	tests/e2e/100-capture-plain.sh \
	tests/e2e/105-key-log.sh \
	tests/e2e/106-capture-tls.sh \
	tests/e2e/110-record-inject.sh \
	tests/e2e/111-inject-journal.sh \
	tests/e2e/112-inject-refused.sh \
	tests/e2e/113-record-fails.sh \
	tests/e2e/114-record-sets.sh \
	tests/e2e/115-send.sh \
	tests/e2e/116-send-refused.sh \
	tests/e2e/117-send-plain.sh \
	tests/e2e/118-send-sessions.sh \
	tests/e2e/119-send-kinds.sh \
	tests/e2e/120-sctp.sh \
	tests/e2e/121-sctp-resume.sh \
	tests/e2e/124-kernel-sctp.sh \
	tests/e2e/125-live-over-sctp.sh \
	tests/e2e/126-replay-over-sctp.sh \
	tests/e2e/130-policy.sh \
	tests/e2e/131-policy-limits.sh \
	tests/e2e/132-compromised.sh \
	tests/e2e/133-expected.sh \
	tests/e2e/150-privileges.sh \
	tests/e2e/151-compromised.sh \
	tests/e2e/160-refused-elsewhere.sh \
	tests/e2e/161-clocks.sh \
	tests/e2e/162-siege-outside.sh \
	tests/e2e/163-siege-silent.sh \
	tests/e2e/164-siege-busy.sh \
	tests/e2e/165-siege-memory.sh \
	tests/e2e/166-siege-datagrams.sh \
	tests/e2e/170-enrol-ssh.sh \
	tests/e2e/171-ca.sh \
	tests/e2e/172-rotate.sh \
	tests/e2e/173-encrypted-keys.sh \
	tests/e2e/174-open-files.sh \
	tests/e2e/175-rotate-replication.sh \
	tests/e2e/176-token.sh \
	tests/e2e/177-tpm.sh
TESTS += $(E2E_TESTS) tests/interop/journal.sh tests/interop/attributes.sh
EXTRA_DIST += $(E2E_TESTS) tests/interop/journal.sh tests/interop/attributes.sh tests/interop/attributes-lab.sh \
	tests/interop/attributes.py tests/interop/ctnetlink.py tests/interop/journal.py \
	tests/e2e/testbed.sh tests/e2e/move.sh tests/e2e/demonstrate.sh tests/e2e/raw.py tests/e2e/traffic.py tests/e2e/terminal.py \
	tests/e2e/refused.sh tests/e2e/faults.sh tests/e2e/live.py tests/e2e/many.sh tests/e2e/churn.py tests/e2e/pair.sh tests/e2e/vlans.sh \
	tests/e2e/sctp-audit.py tests/e2e/cumulative.sh tests/e2e/demonstrate-cumulative.sh tests/e2e/flood.py \
	tests/e2e/related.sh tests/e2e/ftp.py tests/e2e/tftp.py tests/e2e/plain.py tests/e2e/messages.py \
	tests/e2e/sshd.sh tests/e2e/send.sh tests/e2e/keys.sh tests/e2e/siege.sh tests/e2e/sink.py tests/e2e/ping.sh \
	tests/e2e/vm/lab.sh tests/e2e/vm/demonstrate.sh tests/e2e/vm/image.sh tests/e2e/vm/init tests/e2e/vm/guest.c tests/e2e/vm/qmp.py \
	tests/e2e/vm/traffic.py tests/e2e/vm/firewall.sh tests/e2e/vm/firewall-image.sh tests/e2e/vm/firewall-init
AM_TESTS_ENVIRONMENT = SAMI_BUILD=$(abs_builddir) srcdir=$(abs_srcdir) G_DEBUG=fatal-criticals; export SAMI_BUILD srcdir G_DEBUG;

# A clock that is wrong, for LD_PRELOAD.
check_DATA = clock-shift.so
CLEANFILES += clock-shift.so
EXTRA_DIST += tests/tools/clock-shift.c
clock-shift.so: $(srcdir)/tests/tools/clock-shift.c
	$(AM_V_CC)$(CC) -O1 -shared -fPIC -o $@ $(srcdir)/tests/tools/clock-shift.c

# The sender that the collector must refuse.
check_PROGRAMS += hostile hostile-collector siege fill-table
hostile_SOURCES = tests/hostile/hostile.c tests/tools/changes.c tests/tools/changes.h tests/hostile/client.c tests/hostile/client-sctp.c tests/hostile/watch.c tests/hostile/hostile.h tests/hostile/watch.h \
	tests/hostile/message-cases.c tests/hostile/template-cases.c tests/hostile/record-cases.c
hostile_LDADD = $(SAMI_CORE_LIBS)
siege_SOURCES = tests/hostile/siege.c tests/hostile/siege-sctp.c tests/tools/sctp-checksum.h tests/hostile/siege.h tests/hostile/client.c tests/hostile/client-sctp.c tests/hostile/watch.c tests/hostile/hostile.h tests/hostile/watch.h
siege_LDADD = $(SAMI_CORE_LIBS)
# The collector that the exporter must not believe.
hostile_collector_SOURCES = tests/hostile/collector.c tests/hostile/server.c tests/hostile/watch.c tests/hostile/collector-cases.c \
	tests/hostile/collector-session-cases.c tests/hostile/collector-cases.h tests/hostile/collector.h tests/hostile/watch.h
hostile_collector_LDADD = $(SAMI_CORE_LIBS)
fill_table_SOURCES = tests/hostile/fill-table.c
fill_table_LDADD = $(SAMI_CORE_LIBS)
# Both network processes, in the wrong hands.
check_PROGRAMS += hostile-between
hostile_between_SOURCES = tests/hostile/between.c tests/hostile/between-cases.c tests/hostile/watch.c tests/hostile/between.h tests/hostile/watch.h
hostile_between_LDADD = libcollector.a libexporter.a $(SAMI_CORE_LIBS)
