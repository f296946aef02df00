#include "collector/ledger-file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/cursor.h"
#include "common/limits.h"
#include "firewall/firewall.h"
#include "templates/records.h"
#include "templates/signature.h"

#define HEADER 5u
#define KEY 40u
#define REPLACED (16u + 8u + KEY + KEY + 4u + 2u) /* what is in front of the message */

struct SamiLedgerFile {
    gchar *path;
    int fd;
    guint8 boot_id[16]; /* of the running kernel */
    GMutex lock;
    GByteArray *buffer; /* of the record that is being written, from begin() to finish() under the lock */
};

static gboolean
fail(const gchar *path, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "ledger %s: %s", path, g_strerror(errno));
    return FALSE;
}

static SamiLedgerFile *
open_file(const gchar *path, int flags, GError **error)
{
    int fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (fd < 0)
        return fail(path, error), NULL;
    SamiLedgerFile *file = g_new0(SamiLedgerFile, 1);
    file->path = g_strdup(path);
    file->fd = fd;
    sami_ledger_file_boot_id(file->boot_id);
    file->buffer = g_byte_array_new();
    g_mutex_init(&file->lock);
    return file;
}

void
sami_ledger_file_free(SamiLedgerFile *file)
{
    if (!file)
        return;
    close(file->fd);
    g_byte_array_unref(file->buffer);
    g_mutex_clear(&file->lock);
    g_free(file->path);
    g_free(file);
}

/* The payload's room in the buffer; the header is in front of it. */
static SamiWriter
begin(SamiLedgerFile *file, SamiLedgerFileType type, gsize length)
{
    SamiWriter w;
    g_mutex_lock(&file->lock);
    g_byte_array_set_size(file->buffer, (guint) (HEADER + length));
    sami_writer_init(&w, file->buffer->data, file->buffer->len);
    sami_writer_uint(&w, type, 1);
    sami_writer_uint(&w, length, 4);
    return w;
}

/* Half a record would take what comes after it for its other half. */
static gboolean
take_back(SamiLedgerFile *file, off_t end, GError **error)
{
    fail(file->path, error);
    if (ftruncate(file->fd, end) != 0)
        g_prefix_error(error, "cannot be cut back: ");
    return FALSE;
}

/* One write a record, so that a crash cuts between records but for a full disk. */
static gboolean
finish(SamiLedgerFile *file, const SamiWriter *w, GError **error)
{
    const guint8 *at = file->buffer->data;
    gsize left = sami_writer_length(w);
    off_t end = lseek(file->fd, 0, SEEK_END);
    g_assert(!w->is_bad && left == file->buffer->len);
    while (left > 0) {
        ssize_t n = write(file->fd, at, left);
        if (n < 0 && errno != EINTR) {
            take_back(file, end, error);
            g_mutex_unlock(&file->lock);
            return FALSE;
        }
        if (n > 0) {
            at += n;
            left -= (gsize) n;
        }
    }
    g_mutex_unlock(&file->lock);
    return TRUE;
}

static void
put_text(SamiWriter *w, const gchar *text)
{
    sami_writer_uint(w, strlen(text), 1);
    sami_writer_octets(w, text, strlen(text));
}

static void
put_key(SamiWriter *w, const SamiFlowKey *key)
{
    guint8 octets[KEY];
    sami_flow_key_pack(key, octets);
    sami_writer_octets(w, octets, sizeof octets);
}

static gchar *
path_of(const gchar *directory, const guint8 id[16], const gchar *suffix)
{
    gchar hex[SAMI_MIGRATION_ID_TEXT];
    return g_strdup_printf("%s/%s.%s", directory, sami_migration_id_text(id, hex), suffix);
}

gboolean
sami_ledger_file_is_closed(const gchar *directory, const guint8 id[16])
{
    g_autofree gchar *path = path_of(directory, id, "closed");
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

SamiLedgerFile *
sami_ledger_file_new(const gchar *directory, const SamiLedgerOpen *o, GError **error)
{
    g_autofree gchar *path = path_of(directory, o->id, "ledger");
    g_autoptr(SamiLedgerFile) file = open_file(path, O_CREAT | O_EXCL, error);
    if (!file)
        return NULL;
    SamiWriter w = begin(file, SAMI_LEDGER_FILE_OPEN, 16 + 4 + 1 + strlen(o->signer) + 1 + strlen(o->peer) + 2 + 18 * o->n_vm);
    sami_writer_octets(&w, o->id, 16);
    sami_writer_uint(&w, o->lease_s, 4);
    put_text(&w, o->signer);
    put_text(&w, o->peer);
    sami_writer_uint(&w, o->n_vm, 2);
    for (guint i = 0; i < o->n_vm; i++) {
        sami_writer_uint(&w, o->vm[i].family, 1);
        sami_writer_uint(&w, o->vm[i].length, 1);
        sami_writer_octets(&w, o->vm[i].address.octets, 16);
    }
    if (finish(file, &w, error))
        return g_steal_pointer(&file);
    unlink(path);
    return NULL;
}

SamiLedgerFile *
sami_ledger_file_reopen(const gchar *path, GError **error)
{
    return open_file(path, 0, error);
}

gboolean
sami_ledger_file_intent(SamiLedgerFile *file, guint64 time_ns, const SamiFlowKey *keys, guint n, GError **error)
{
    SamiWriter w = begin(file, SAMI_LEDGER_FILE_INTENT, 12 + (gsize) KEY * n);
    sami_writer_uint(&w, time_ns, 8);
    sami_writer_uint(&w, n, 4);
    for (guint i = 0; i < n; i++)
        put_key(&w, &keys[i]);
    return finish(file, &w, error);
}

gboolean
sami_ledger_file_result(SamiLedgerFile *file, guint64 time_ns, const guint8 *outcomes, guint n, GError **error)
{
    SamiWriter w = begin(file, SAMI_LEDGER_FILE_RESULT, 12 + (gsize) n);
    sami_writer_uint(&w, time_ns, 8);
    sami_writer_uint(&w, n, 4);
    sami_writer_octets(&w, outcomes, n);
    return finish(file, &w, error);
}

gboolean
sami_ledger_file_gone(SamiLedgerFile *file, const SamiFlowKey *keys, guint n, GError **error)
{
    SamiWriter w = begin(file, SAMI_LEDGER_FILE_GONE, 4 + (gsize) KEY * n);
    sami_writer_uint(&w, n, 4);
    for (guint i = 0; i < n; i++)
        put_key(&w, &keys[i]);
    return finish(file, &w, error);
}

gboolean
sami_ledger_file_merged(SamiLedgerFile *file, const SamiFlowKey *key, const guint8 old_tcp_flags[2], GError **error)
{
    SamiWriter w = begin(file, SAMI_LEDGER_FILE_MERGED, KEY + 2);
    put_key(&w, key);
    sami_writer_octets(&w, old_tcp_flags, 2);
    return finish(file, &w, error);
}

static SamiWriter
begin_phase(SamiLedgerFile *file, guint8 phase, guint64 counter, guint64 n_records, guint64 time_ns)
{
    SamiWriter w = begin(file, SAMI_LEDGER_FILE_PHASE, 1 + 8 + 8 + 8);
    sami_writer_uint(&w, phase, 1);
    sami_writer_uint(&w, counter, 8);
    sami_writer_uint(&w, n_records, 8);
    sami_writer_uint(&w, time_ns, 8);
    return w;
}

gboolean
sami_ledger_file_phase(SamiLedgerFile *file, guint8 phase, guint64 counter, guint64 n_records, guint64 time_ns, GError **error)
{
    SamiWriter w = begin_phase(file, phase, counter, n_records, time_ns);
    return finish(file, &w, error);
}

gboolean
sami_ledger_file_freeze(SamiLedgerFile *file, guint64 counter, GError **error)
{
    SamiWriter w = begin(file, SAMI_LEDGER_FILE_FREEZE, 24);
    sami_writer_octets(&w, file->boot_id, sizeof file->boot_id);
    sami_writer_uint(&w, counter, 8);
    return finish(file, &w, error);
}

gboolean
sami_ledger_file_replaced(SamiLedgerFile *file, guint64 time_ns, const SamiFlowKey *key, const SamiSession *old, GError **error)
{
    guint32 message[SAMI_FIREWALL_MESSAGE_MAX / sizeof(guint32)];
    gsize n = sami_firewall_build(old, SAMI_OP_CREATE, old->timeout_s, (guint8 *) message);
    SamiFlowKey reply = old->key;
    reply.orig = old->reply;
    SamiWriter w = begin(file, SAMI_LEDGER_FILE_REPLACED, REPLACED + n);
    sami_writer_octets(&w, file->boot_id, sizeof file->boot_id);
    sami_writer_uint(&w, time_ns, 8);
    put_key(&w, key);
    put_key(&w, &reply);
    sami_writer_uint(&w, old->status, 4);
    sami_writer_octets(&w, old->tcp_flags, 2);
    sami_writer_octets(&w, message, n);
    return finish(file, &w, error);
}

void
sami_ledger_file_boot_id(guint8 ret[16])
{
    g_autofree gchar *text = NULL;
    guint n = 0;
    memset(ret, 0, 16);
    if (!g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL))
        return;
    for (const gchar *at = text; *at && n < 32; at++)
        if (g_ascii_isxdigit(*at)) {
            ret[n / 2] = (guint8) (ret[n / 2] << 4 | g_ascii_xdigit_value(*at));
            n++;
        }
}

int
sami_ledger_file_fd(const SamiLedgerFile *file)
{
    return file->fd;
}

gboolean
sami_ledger_file_finish(SamiLedgerFile *file, guint8 phase, guint64 counter, guint64 n_records, guint64 time_ns, GError **error)
{
    guint8 header[HEADER];
    SamiReader r;
    if (pread(file->fd, header, sizeof header, 0) != (ssize_t) sizeof header)
        return fail(file->path, error);
    sami_reader_init(&r, header + 1, HEADER - 1);
    gsize n_open = HEADER + (gsize) sami_reader_uint(&r, 4);
    g_autoptr(GByteArray) text = g_byte_array_new();
    g_byte_array_set_size(text, (guint) n_open);
    if (pread(file->fd, text->data, n_open, 0) != (ssize_t) n_open)
        return fail(file->path, error);
    begin_phase(file, phase, counter, n_records, time_ns);
    g_byte_array_append(text, file->buffer->data, file->buffer->len);
    g_mutex_unlock(&file->lock);
    g_autofree gchar *closed = g_strdup(file->path);
    gchar *dot = strrchr(closed, '.');
    *dot = '\0';
    g_autofree gchar *path = g_strconcat(closed, ".closed", NULL);
    if (!g_file_set_contents_full(path, (const gchar *) text->data, (gssize) text->len, G_FILE_SET_CONTENTS_CONSISTENT, 0600, error))
        return FALSE;
    return unlink(file->path) == 0 || fail(file->path, error);
}

typedef struct {
    const SamiLedgerFileReader *to;
    gpointer user_data;
    gboolean has_open;
    guint8 boot_id[16]; /* of the running kernel */
    GArray *intent; /* of SamiFlowKey: waits for its result */
    guint64 intent_ns;
} Reading;

static void
take_key(SamiReader *r, SamiFlowKey *ret)
{
    const guint8 *octets = sami_reader_take(r, KEY);
    if (octets)
        sami_flow_key_unpack(octets, ret);
}

static gchar *
take_text(SamiReader *r)
{
    guint n = (guint) sami_reader_uint(r, 1);
    const guint8 *text = sami_reader_take(r, n);
    return g_strndup(text ? (const gchar *) text : "", text ? n : 0);
}

static void
read_open(Reading *reading, SamiReader *r)
{
    SamiLedgerOpen o = { 0 };
    const guint8 *id = sami_reader_take(r, 16);
    o.lease_s = (guint32) sami_reader_uint(r, 4);
    g_autofree gchar *signer = take_text(r);
    g_autofree gchar *peer = take_text(r);
    SamiPrefix vm[SAMI_VM_ADDRESSES_MAX] = { 0 };
    o.n_vm = (guint) sami_reader_uint(r, 2);
    if (o.n_vm > SAMI_VM_ADDRESSES_MAX)
        r->is_bad = TRUE;
    for (guint i = 0; !r->is_bad && i < o.n_vm; i++) {
        vm[i].family = (guint8) sami_reader_uint(r, 1);
        vm[i].length = (guint8) sami_reader_uint(r, 1);
        const guint8 *address = sami_reader_take(r, 16);
        if (address)
            memcpy(vm[i].address.octets, address, 16);
    }
    if (r->is_bad)
        return;
    memcpy(o.id, id, 16);
    o.signer = signer;
    o.peer = peer;
    o.vm = vm;
    reading->has_open = TRUE;
    reading->to->open(&o, reading->user_data);
}

/* What an intent without a result may have created counts as created: the window's end is open. */
static void
end_intent(Reading *reading, guint64 time_ns, const guint8 *outcomes)
{
    guint64 window[2] = { reading->intent_ns, time_ns };
    for (guint i = 0; i < reading->intent->len; i++)
        if (!outcomes || outcomes[i] == SAMI_OUTCOME_CREATED)
            reading->to->created(&g_array_index(reading->intent, SamiFlowKey, i), window, reading->user_data);
    g_array_set_size(reading->intent, 0);
}

static void
read_intent(Reading *reading, SamiReader *r)
{
    end_intent(reading, G_MAXUINT64, NULL);
    reading->intent_ns = sami_reader_uint(r, 8);
    guint n = (guint) sami_reader_uint(r, 4);
    for (guint i = 0; i < n && !r->is_bad; i++) {
        SamiFlowKey key = { 0 };
        take_key(r, &key);
        if (!r->is_bad)
            g_array_append_val(reading->intent, key);
    }
}

static void
read_result(Reading *reading, SamiReader *r)
{
    guint64 time_ns = sami_reader_uint(r, 8);
    guint n = (guint) sami_reader_uint(r, 4);
    const guint8 *outcomes = sami_reader_take(r, n);
    if (n != reading->intent->len)
        r->is_bad = TRUE;
    if (!r->is_bad)
        end_intent(reading, time_ns, outcomes);
}

static void
read_gone(Reading *reading, SamiReader *r)
{
    guint n = (guint) sami_reader_uint(r, 4);
    for (guint i = 0; i < n && !r->is_bad; i++) {
        SamiFlowKey key = { 0 };
        take_key(r, &key);
        if (!r->is_bad)
            reading->to->gone(&key, reading->user_data);
    }
}

static void
read_merged(Reading *reading, SamiReader *r)
{
    SamiFlowKey key = { 0 };
    take_key(r, &key);
    const guint8 *flags = sami_reader_take(r, 2);
    if (flags)
        reading->to->merged(&key, flags, reading->user_data);
}

static void
read_phase(Reading *reading, SamiReader *r)
{
    guint8 phase = (guint8) sami_reader_uint(r, 1);
    guint64 counter = sami_reader_uint(r, 8);
    guint64 n_records = sami_reader_uint(r, 8);
    guint64 time_ns = sami_reader_uint(r, 8);
    if (!r->is_bad)
        reading->to->phase(phase, counter, n_records, time_ns, reading->user_data);
}

static void
read_freeze(Reading *reading, SamiReader *r)
{
    const guint8 *boot_id = sami_reader_take(r, 16);
    guint64 counter = sami_reader_uint(r, 8);
    if (!r->is_bad)
        reading->to->freeze(boot_id, counter, reading->user_data);
}

/* With the machine the table that it was in is gone, and so is what replaced it. A creation has flags of its own, and a translation in place
 * of the reply tuple and the status that it makes. */
static void
read_replaced(Reading *reading, SamiReader *r)
{
    SamiFlowKey key = { 0 }, reply = { 0 };
    SamiSession old;
    const guint8 *boot_id = sami_reader_take(r, sizeof reading->boot_id);
    guint64 time_ns = sami_reader_uint(r, 8);
    take_key(r, &key);
    take_key(r, &reply);
    guint32 status = (guint32) sami_reader_uint(r, 4);
    const guint8 *flags = sami_reader_take(r, 2);
    gsize n = sami_reader_left(r);
    const guint8 *message = sami_reader_take(r, n);
    if (r->is_bad || !sami_firewall_parse(message, n, &old)) {
        r->is_bad = TRUE;
        return;
    }
    old.reply = reply.orig;
    old.status = status;
    memcpy(old.tcp_flags, flags, 2);
    if (memcmp(boot_id, reading->boot_id, sizeof reading->boot_id) == 0)
        reading->to->replaced(&key, &old, time_ns, reading->user_data);
}

static void (*const readers[])(Reading *, SamiReader *) = {
    [SAMI_LEDGER_FILE_OPEN] = read_open,   [SAMI_LEDGER_FILE_INTENT] = read_intent, [SAMI_LEDGER_FILE_RESULT] = read_result,
    [SAMI_LEDGER_FILE_GONE] = read_gone,   [SAMI_LEDGER_FILE_MERGED] = read_merged, [SAMI_LEDGER_FILE_PHASE] = read_phase,
    [SAMI_LEDGER_FILE_FREEZE] = read_freeze, [SAMI_LEDGER_FILE_REPLACED] = read_replaced,
};

static gboolean
malformed(const gchar *path, gsize offset, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "ledger %s: the record at octet %zu is none", path, offset);
    return FALSE;
}

gboolean
sami_ledger_file_read(const gchar *path, const SamiLedgerFileReader *to, gpointer user_data, GError **error)
{
    g_autoptr(GMappedFile) map = g_mapped_file_new(path, FALSE, error);
    if (!map)
        return FALSE;
    g_autoptr(GArray) intent = g_array_new(FALSE, FALSE, sizeof(SamiFlowKey));
    Reading reading = { .to = to, .user_data = user_data, .intent = intent };
    sami_ledger_file_boot_id(reading.boot_id);
    const guint8 *data = (const guint8 *) g_mapped_file_get_contents(map);
    gsize size = g_mapped_file_get_length(map);
    SamiReader file;
    sami_reader_init(&file, data, size);
    while (sami_reader_left(&file) >= HEADER) {
        gsize offset = size - sami_reader_left(&file);
        guint type = (guint) sami_reader_uint(&file, 1);
        gsize length = (gsize) sami_reader_uint(&file, 4);
        if (type == 0 || type >= G_N_ELEMENTS(readers) || reading.has_open == (type == SAMI_LEDGER_FILE_OPEN))
            return malformed(path, offset, error);
        const guint8 *payload = sami_reader_take(&file, length);
        if (!payload) /* torn: the process died in the middle of it */
            break;
        SamiReader r;
        sami_reader_init(&r, payload, length);
        readers[type](&reading, &r);
        if (r.is_bad || sami_reader_left(&r) > 0)
            return malformed(path, offset, error);
    }
    end_intent(&reading, G_MAXUINT64, NULL);
    if (!reading.has_open)
        return malformed(path, 0, error);
    return TRUE;
}
