/* What is in a capture beside TLS that is whole and honest. The input is pieces of the two directions; those that ask for it are sealed with the
 * secrets of the fixed key log, so that mutation gets past the authentication. */
#include "tests/fuzz/fuzz.h"

#include <unistd.h>

#include "transport/tls-decrypt.h"

/* A piece is flags, a length of two octets, and as many: octets of the stream, or a TLSInnerPlaintext (RFC 8446 §5.2). */
enum { FROM_SERVER = 1, SEALED = 2, APPLICATION = 4, UPDATED = 8 };

static SamiKeyLog *
make_key_log(void)
{
    static const gchar *const labels[] = { "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0",
                                           "SERVER_TRAFFIC_SECRET_0" };
    g_autofree gchar *path = g_strdup_printf("%s/sami-fuzz-%d", g_get_tmp_dir(), (int) getpid());
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < 4; i++) {
        g_string_append_printf(text, "%s %064d ", labels[i], 0);
        for (guint j = 0; j < 32; j++)
            g_string_append_printf(text, "%02x", (i < 2 ? 0x10 : 0x20) + i % 2);
        g_string_append_c(text, '\n');
    }
    g_assert(g_file_set_contents(path, text->str, -1, NULL));
    SamiKeyLog *log = sami_key_log_load(path, NULL);
    g_assert(log);
    unlink(path);
    g_string_free(text, TRUE);
    return log;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static SamiKeyLog *log;
    guint8 counts[6] = { 0 }, record[65536 + SAMI_FUZZ_SEALED];
    gboolean is_closed, was_closed[2] = { FALSE, FALSE }, is_bad[2] = { FALSE, FALSE };
    gsize n_fed = 0;
    log = log ? log : make_key_log();
    g_autoptr(SamiTlsDecrypt) tls = sami_tls_decrypt_new(log);
    g_autoptr(GByteArray) plain = g_byte_array_new();
    for (gsize at = 0, n; at + 3 <= size; at += n) {
        guint flags = data[at], direction = flags & FROM_SERVER, key = 3 * direction + (flags & UPDATED ? 2 : flags & APPLICATION ? 1 : 0);
        g_autoptr(GError) error = NULL;
        n = MIN(size - at - 3, (gsize) data[at + 1] << 8 | data[at + 2]);
        at += 3;
        gsize length = flags & SEALED ? sami_fuzz_seal(key, counts[key]++, data + at, n, record) : n;
        gboolean is_fine = sami_tls_decrypt_feed(tls, !direction, flags & SEALED ? record : data + at, length, plain, &is_closed, &error);
        n_fed += length;
        g_assert(is_fine == !error && !(is_fine && is_bad[direction]) && (is_closed || !was_closed[direction]) && plain->len <= n_fed);
        was_closed[direction] = is_closed;
        is_bad[direction] = !is_fine;
    }
    return 0;
}
