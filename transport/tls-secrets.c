#include "transport/tls-secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A line is 130 octets of memory: five of them a connection, four that are kept. */
#define LINES_MAX 1000000u
/* The longest that matters: a label, 32 octets and 48 octets in hexadecimal. */
#define TEXT_MAX 256u
#define FILE_BUFFER 65536u

static const gchar *const labels[SAMI_N_TLS_SECRETS] = {
    [SAMI_TLS_CLIENT_HANDSHAKE] = "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    [SAMI_TLS_SERVER_HANDSHAKE] = "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    [SAMI_TLS_CLIENT_APPLICATION] = "CLIENT_TRAFFIC_SECRET_0",
    [SAMI_TLS_SERVER_APPLICATION] = "SERVER_TRAFFIC_SECRET_0",
};

struct SamiKeyLog {
    GHashTable *secrets; /* set of SamiTlsSecret */
};

/* One line, without its end. */
typedef struct {
    gchar text[TEXT_MAX + 1];
    gsize length;
    gboolean is_cut; /* it was longer */
} Line;

const gchar *
sami_tls_secret_label(SamiTlsSecretKind kind)
{
    return labels[kind];
}

/* All of the random: what only begins alike must not make one long chain. */
static guint
hash_secret(gconstpointer key)
{
    const SamiTlsSecret *secret = key;
    guint hash = secret->kind;
    for (guint i = 0; i < SAMI_TLS_RANDOM; i++)
        hash = hash * 33 + secret->random[i];
    return hash;
}

static gboolean
is_same(gconstpointer a, gconstpointer b)
{
    const SamiTlsSecret *x = a, *y = b;
    return x->kind == y->kind && memcmp(x->random, y->random, sizeof x->random) == 0;
}

static void
secret_free(gpointer secret)
{
    OPENSSL_cleanse(secret, sizeof(SamiTlsSecret));
    g_free(secret);
}

static gboolean
parse_hex(const gchar *text, gsize n_digits, guint8 *ret)
{
    for (gsize i = 0; i < n_digits; i++)
        if (!g_ascii_isxdigit(text[i]))
            return FALSE;
    for (gsize i = 0; i < n_digits / 2; i++)
        ret[i] = (guint8) (g_ascii_xdigit_value(text[2 * i]) << 4 | g_ascii_xdigit_value(text[2 * i + 1]));
    return TRUE;
}

/* What is wrong with the part behind the label: " RANDOM SECRET"; NULL if it is right. */
static const gchar *
parse_values(const gchar *text, SamiTlsSecret *secret)
{
    gsize n_random = strcspn(text + 1, " "), n = 0;
    if (n_random != 2 * sizeof secret->random || !parse_hex(text + 1, n_random, secret->random))
        return "the random of the ClientHello has to be 64 hexadecimal digits";
    text += 1 + n_random;
    n = *text == ' ' ? strlen(text + 1) : 0;
    if ((n != 64 && n != 96) || !parse_hex(text + 1, n, secret->octets))
        return "a secret has to be 64 or 96 hexadecimal digits";
    secret->length = (guint8) (n / 2);
    return NULL;
}

/* The same again is fine: both ends may write to one file. */
static const gchar *
add_secret(SamiKeyLog *log, const SamiTlsSecret *secret)
{
    const SamiTlsSecret *known = g_hash_table_lookup(log->secrets, secret);
    if (!known)
        g_hash_table_add(log->secrets, g_memdup2(secret, sizeof *secret));
    else if (known->length != secret->length || CRYPTO_memcmp(known->octets, secret->octets, secret->length) != 0)
        return "a line before it has another secret for the same connection";
    return NULL;
}

/* NULL if it is right, or of no concern. */
static const gchar *
take_line(SamiKeyLog *log, const Line *line)
{
    SamiTlsSecret secret = { .kind = SAMI_N_TLS_SECRETS };
    gsize n_label = strcspn(line->text, " ");
    const gchar *wrong;
    for (guint i = 0; i < SAMI_N_TLS_SECRETS; i++)
        if (n_label == strlen(labels[i]) && strncmp(line->text, labels[i], n_label) == 0)
            secret.kind = (guint8) i;
    if (secret.kind == SAMI_N_TLS_SECRETS)
        return NULL;
    wrong = line->is_cut || line->length != strlen(line->text) ? "longer than any secret, or with NUL in it"
            : line->text[n_label] != ' '                       ? "cut short behind its label"
                                                               : parse_values(line->text + n_label, &secret);
    if (!wrong)
        wrong = add_secret(log, &secret);
    OPENSSL_cleanse(&secret, sizeof secret);
    return wrong;
}

/* FALSE: nothing more. */
static gboolean
read_line(FILE *file, Line *line)
{
    int c = getc(file);
    gboolean is_there = c != EOF;
    line->length = 0;
    line->is_cut = FALSE;
    for (; c != EOF && c != '\n'; c = getc(file)) {
        if (line->length < TEXT_MAX)
            line->text[line->length++] = (gchar) c;
        else
            line->is_cut = TRUE;
    }
    if (line->length > 0 && line->text[line->length - 1] == '\r')
        line->length--;
    line->text[line->length] = '\0';
    return is_there;
}

static gboolean
read_log(SamiKeyLog *log, FILE *file, GError **error)
{
    Line line;
    const gchar *wrong = NULL;
    guint n = 0;
    while (!wrong && read_line(file, &line))
        wrong = ++n > LINES_MAX ? "more lines than a key log may have" : take_line(log, &line);
    OPENSSL_cleanse(&line, sizeof line);
    if (wrong)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "line %u: %s (draft-ietf-tls-keylogfile §2)", n, wrong);
    else if (ferror(file))
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "line %u: %s", n + 1, g_strerror(errno));
    return !wrong && !ferror(file);
}

SamiKeyLog *
sami_key_log_load(const gchar *path, GError **error)
{
    g_autoptr(SamiKeyLog) log = g_new0(SamiKeyLog, 1);
    g_autofree gchar *buffer = g_malloc(FILE_BUFFER);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    log->secrets = g_hash_table_new_full(hash_secret, is_same, secret_free, NULL);
    if (!file) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "key log %s: %s", path, g_strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    setvbuf(file, buffer, _IOFBF, FILE_BUFFER);
    gboolean is_read = read_log(log, file, error);
    fclose(file);
    OPENSSL_cleanse(buffer, FILE_BUFFER);
    if (is_read)
        return g_steal_pointer(&log);
    g_prefix_error(error, "key log %s: ", path);
    return NULL;
}

void
sami_key_log_free(SamiKeyLog *log)
{
    if (!log)
        return;
    g_clear_pointer(&log->secrets, g_hash_table_unref);
    g_free(log);
}

const SamiTlsSecret *
sami_key_log_find(const SamiKeyLog *log, const guint8 random[SAMI_TLS_RANDOM], SamiTlsSecretKind kind)
{
    SamiTlsSecret wanted = { .kind = (guint8) kind };
    memcpy(wanted.random, random, sizeof wanted.random);
    return g_hash_table_lookup(log->secrets, &wanted);
}
