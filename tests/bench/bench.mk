# Measurements, never part of the check: ./run bench
check_PROGRAMS += bench-paths bench-freeze
bench_paths_SOURCES = tests/bench/paths.c tests/tools/kernel-table.c tests/tools/kernel-table.h
bench_paths_LDADD = libexporter.a libcollector.a $(SAMI_CORE_LIBS)
check_PROGRAMS += bench-rate
bench_rate_SOURCES = tests/bench/rate.c tests/tools/kernel-table.c tests/tools/kernel-table.h
bench_rate_LDADD = $(MNL_LIBS) $(GLIB_LIBS) -lpthread
bench_freeze_SOURCES = tests/bench/freeze.c tests/tools/kernel-table.c tests/tools/kernel-table.h
bench_freeze_LDADD = $(SAMI_CORE_LIBS)
EXTRA_DIST += tests/bench/bench.sh tests/bench/common.sh tests/bench/cumulative.sh tests/bench/replay.sh tests/bench/replicate.sh tests/bench/transport.sh
