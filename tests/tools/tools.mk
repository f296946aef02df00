# Tools that tests and benchmarks use.
check_PROGRAMS += sami-table sami-messages
sami_table_SOURCES = tests/tools/table.c tests/tools/kernel-table.c tests/tools/kernel-table.h
sami_table_LDADD = $(MNL_LIBS) $(GLIB_LIBS)
sami_messages_SOURCES = tests/tools/messages.c
sami_messages_LDADD = $(SAMI_CORE_LIBS)
EXTRA_DIST += tests/tools/machine-table.sh

# What tests/replay reads was written by it.
check_PROGRAMS += replay-samples
replay_samples_SOURCES = tests/tools/replay-samples.c
replay_samples_LDADD = $(SAMI_CORE_LIBS)

# What tests/unit/test-rules reads, too.
check_PROGRAMS += rule-samples
rule_samples_SOURCES = tests/tools/rule-samples.c tests/tools/changes.c tests/tools/changes.h
rule_samples_LDADD = $(SAMI_CORE_LIBS)
