/* A ledger as a restarted state process finds it: a torn one, one of another version, one that somebody has written to. What is read of it is what it
 * says in the order of its records, and a file that goes on is read again. */
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "collector/ledger-file.h"

typedef struct {
    guint n_open, n_others;
} Seen;

static void
on_open(const SamiLedgerOpen *open, gpointer user_data)
{
    Seen *seen = user_data;
    g_assert(seen->n_open++ == 0 && seen->n_others == 0 && open->signer && open->peer && open->n_vm <= SAMI_VM_ADDRESSES_MAX);
}

static void
count(gpointer user_data)
{
    Seen *seen = user_data;
    g_assert(seen->n_open == 1);
    seen->n_others++;
}

static void
on_created(const SamiFlowKey *key, const guint64 window[2], gpointer user_data)
{
    count(user_data);
}

static void
on_gone(const SamiFlowKey *key, gpointer user_data)
{
    count(user_data);
}

static void
on_merged(const SamiFlowKey *key, const guint8 old_tcp_flags[2], gpointer user_data)
{
    count(user_data);
}

static void
on_phase(guint8 phase, guint64 counter, guint64 n_records, guint64 time_ns, gpointer user_data)
{
    count(user_data);
}

static void
on_freeze(const guint8 boot_id[16], guint64 counter, gpointer user_data)
{
    count(user_data);
}

static void
on_replaced(const SamiFlowKey *key, const SamiSession *old, guint64 time_ns, gpointer user_data)
{
    g_assert(old->key.family == 4 || old->key.family == 6);
    count(user_data);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const SamiLedgerFileReader reader = {on_open, on_created, on_gone, on_merged, on_phase, on_freeze, on_replaced};
    Seen seen = {0};
    g_autoptr(GError) error = NULL;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    g_autofree gchar *path = g_strdup_printf("/proc/self/fd/%d", fd);
    if (write(fd, data, size) == (gssize) size) {
        gboolean is_read = sami_ledger_file_read(path, &reader, &seen, &error);
        g_assert(is_read == !error && (!is_read || seen.n_open == 1));
    }
    close(fd);
    return 0;
}
