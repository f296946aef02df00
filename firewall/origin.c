#include "firewall/origin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "firewall/mapped-file.h"

#define MAGIC 0x53414d494f524731ull /* SAMIORG1 */
#define SLOTS_MIN 4096u
#define FREE 0u
#define GONE 1u
#define WATCH_US 200000 /* how often a reader looks for a file that is not there yet */

typedef struct {
    guint64 magic;
    gchar boot[SAMI_BOOT_ID];
    guint64 secret[2];    /* of the hash: flows are chosen by others */
    guint64 n_slots;      /* a power of two */
    guint64 n_keys;
    guint64 n_gone;
    guint64 yielded_ns;
    guint32 term;
    guint32 is_replaced;  /* readers map the file anew */
} Header;

struct SamiOrigin {
    GMutex lock;    /* of the writer's two threads: another table may come in between */
    gchar *path;
    gboolean is_writer;
    Header *header; /* NULL: nothing mapped */
    guint64 *slots;
    gsize size;
    gint64 looked_us;
};

static gsize
size_of(guint64 n_slots)
{
    return sizeof(Header) + n_slots * sizeof(guint64);
}

static gboolean
fail(const gchar *path, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s", path, g_strerror(errno));
    return FALSE;
}

static void
unmap(SamiOrigin *origin)
{
    if (origin->header)
        munmap(origin->header, origin->size);
    origin->header = NULL;
    origin->slots = NULL;
}

static void
take(SamiOrigin *origin, gpointer memory, gsize size)
{
    unmap(origin);
    origin->header = memory;
    origin->slots = (guint64 *) (void *) (origin->header + 1);
    origin->size = size;
}

/* A file of this boot, whole. */
static gboolean
is_usable(const SamiOrigin *origin)
{
    const Header *h = origin->header;
    gchar boot[SAMI_BOOT_ID];
    sami_mapped_file_boot(boot);
    return h->magic == MAGIC && h->n_slots >= SLOTS_MIN && (h->n_slots & (h->n_slots - 1)) == 0 && origin->size == size_of(h->n_slots) &&
           memcmp(h->boot, boot, sizeof boot) == 0;
}

static gboolean
open_file(SamiOrigin *origin)
{
    gpointer memory;
    gsize size;
    if (!sami_mapped_file_open(origin->path, origin->is_writer, size_of(SLOTS_MIN), &memory, &size))
        return FALSE;
    take(origin, memory, size);
    if (!is_usable(origin))
        unmap(origin);
    return origin->header != NULL;
}

/* On failure what was mapped before stays. */
static gboolean
make_file(SamiOrigin *origin, const Header *header, GError **error)
{
    gpointer memory;
    gsize size = size_of(header->n_slots);
    if (!sami_mapped_file_make(origin->path, size, &memory, error))
        return FALSE;
    take(origin, memory, size);
    *origin->header = *header;
    return TRUE;
}

SamiOrigin *
sami_origin_new(const gchar *path, GError **error)
{
    g_autoptr(SamiOrigin) origin = g_new0(SamiOrigin, 1);
    Header header = { .magic = MAGIC, .n_slots = SLOTS_MIN, .term = 1 };
    g_mutex_init(&origin->lock);
    origin->path = g_strdup(path);
    origin->is_writer = TRUE;
    if (open_file(origin))
        return g_steal_pointer(&origin);
    sami_mapped_file_boot(header.boot);
    if (getrandom(header.secret, sizeof header.secret, 0) != sizeof header.secret)
        return fail(path, error), NULL;
    return make_file(origin, &header, error) && sami_mapped_file_publish(origin->path, error) ? g_steal_pointer(&origin) : NULL;
}

SamiOrigin *
sami_origin_watch(const gchar *path)
{
    SamiOrigin *origin = g_new0(SamiOrigin, 1);
    g_mutex_init(&origin->lock);
    origin->path = g_strdup(path);
    return origin;
}

void
sami_origin_free(SamiOrigin *origin)
{
    if (!origin)
        return;
    unmap(origin);
    g_mutex_clear(&origin->lock);
    g_free(origin->path);
    g_free(origin);
}

/* A reader's view of now. FALSE: there is no file. */
static gboolean
look(SamiOrigin *origin)
{
    if (origin->header && !__atomic_load_n(&origin->header->is_replaced, __ATOMIC_ACQUIRE))
        return TRUE;
    gint64 now_us = g_get_monotonic_time();
    if (origin->is_writer)
        return origin->header != NULL;
    if (!origin->header && origin->looked_us && now_us < origin->looked_us + WATCH_US)
        return FALSE;
    origin->looked_us = now_us;
    if (!open_file(origin))
        return origin->header != NULL; /* replaced by nothing: what it said last */
    return TRUE;
}

/* Multiply and fold, keyed; at most one in 2^40 look-ups of a table of 16 million finds another flow's hash. */
static guint64
hash_of(const Header *header, const SamiFlowKey *key)
{
    guint64 words[5], hash = header->secret[0];
    memcpy(words, key, sizeof words);
    for (guint i = 0; i < G_N_ELEMENTS(words); i++) {
        unsigned __int128 product = (unsigned __int128) (words[i] ^ hash) * (header->secret[1] | 1);
        hash = (guint64) product ^ (guint64) (product >> 64) ^ (hash << 23 | hash >> 41);
    }
    unsigned __int128 last = (unsigned __int128) (hash ^ header->secret[1]) * 0x9e3779b97f4a7c15ull;
    hash = (guint64) last ^ (guint64) (last >> 64);
    return hash > GONE ? hash : hash + 2;
}

/* The slot of the hash, or the one where it belongs. */
static guint64 *
find(const SamiOrigin *origin, guint64 hash, gboolean *ret_is_found)
{
    guint64 mask = origin->header->n_slots - 1, *place = NULL;
    for (guint64 n = 0, i = hash & mask; n <= mask; n++, i = (i + 1) & mask) {
        guint64 *slot = &origin->slots[i], value = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
        *ret_is_found = value == hash;
        if (value == hash)
            return slot;
        if (value == GONE && !place)
            place = slot;
        if (value == FREE)
            return place ? place : slot;
    }
    *ret_is_found = FALSE;
    return place;
}

static void
put(SamiOrigin *origin, guint64 hash)
{
    gboolean is_found;
    guint64 *slot = find(origin, hash, &is_found);
    if (*slot == GONE)
        origin->header->n_gone--;
    origin->header->n_keys++;
    __atomic_store_n(slot, hash, __ATOMIC_RELEASE);
}

static void
restore(SamiOrigin *origin, Header *header, guint64 *slots, gsize size)
{
    origin->header = header;
    origin->slots = slots;
    origin->size = size;
}

/* Into a table of the right size. Readers of the old one are told when the new one is complete. */
static gboolean
move(SamiOrigin *origin, guint64 n_slots, GError **error)
{
    const struct {
        Header *header;
        guint64 *slots;
        gsize size;
    } old = { origin->header, origin->slots, origin->size };
    Header header = *old.header;
    header.n_slots = n_slots;
    header.n_keys = header.n_gone = 0;
    origin->header = NULL;
    origin->slots = NULL;
    if (!make_file(origin, &header, error)) {
        restore(origin, old.header, old.slots, old.size);
        return FALSE;
    }
    for (guint64 i = 0; i < old.header->n_slots; i++)
        if (old.slots[i] > GONE)
            put(origin, old.slots[i]);
    if (!sami_mapped_file_publish(origin->path, error)) {
        unmap(origin);
        restore(origin, old.header, old.slots, old.size);
        return FALSE;
    }
    __atomic_store_n(&old.header->is_replaced, 1, __ATOMIC_RELEASE);
    munmap(old.header, old.size);
    return TRUE;
}

gboolean
sami_origin_add(SamiOrigin *origin, const SamiFlowKey *key)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&origin->lock);
    Header *h = origin->header;
    guint64 hash = hash_of(h, key);
    gboolean is_found;
    g_autoptr(GError) error = NULL;
    find(origin, hash, &is_found);
    if (is_found)
        return FALSE;
    if (h->n_keys + h->n_gone + 1 > h->n_slots / 4 * 3 &&
        !move(origin, h->n_keys + 1 > h->n_slots / 2 ? h->n_slots * 2 : h->n_slots, &error) && h->n_keys + 1 >= h->n_slots) {
        g_debug("%s", error->message); /* full, and no larger one can be made: this flow counts as ours */
        return TRUE;
    }
    put(origin, hash);
    return TRUE;
}

void
sami_origin_remove(SamiOrigin *origin, const SamiFlowKey *key)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&origin->lock);
    gboolean is_found;
    guint64 *slot = find(origin, hash_of(origin->header, key), &is_found);
    if (!is_found)
        return;
    __atomic_store_n(slot, GONE, __ATOMIC_RELEASE);
    origin->header->n_keys--;
    origin->header->n_gone++;
}

void
sami_origin_clear(SamiOrigin *origin)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&origin->lock);
    Header *h = origin->header;
    for (guint64 i = 0; i < h->n_slots; i++)
        __atomic_store_n(&origin->slots[i], FREE, __ATOMIC_RELAXED);
    h->n_keys = h->n_gone = 0;
    __atomic_store_n(&h->yielded_ns, 0, __ATOMIC_RELAXED);
    __atomic_add_fetch(&h->term, 1, __ATOMIC_RELEASE);
}

void
sami_origin_yield(SamiOrigin *origin, guint64 since_ns)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&origin->lock);
    __atomic_store_n(&origin->header->yielded_ns, since_ns, __ATOMIC_RELAXED);
    __atomic_add_fetch(&origin->header->term, 1, __ATOMIC_RELEASE);
}

gboolean
sami_origin_contains(SamiOrigin *origin, const SamiFlowKey *key)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&origin->lock);
    gboolean is_found = FALSE;
    if (look(origin))
        find(origin, hash_of(origin->header, key), &is_found);
    return is_found;
}

guint64
sami_origin_n(SamiOrigin *origin)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&origin->lock);
    return look(origin) ? origin->header->n_keys : 0;
}

guint64
sami_origin_yielded_ns(SamiOrigin *origin)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&origin->lock);
    return look(origin) ? __atomic_load_n(&origin->header->yielded_ns, __ATOMIC_RELAXED) : 0;
}

guint32
sami_origin_term(SamiOrigin *origin)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&origin->lock);
    return look(origin) ? __atomic_load_n(&origin->header->term, __ATOMIC_ACQUIRE) : 0;
}

gboolean
sami_origin_is_ours(SamiOrigin *origin, const SamiSession *s)
{
    guint64 yielded_ns = sami_origin_yielded_ns(origin);
    if (yielded_ns && (s->has & SAMI_HAS_START) && s->start_ns && s->start_ns < yielded_ns)
        return FALSE;
    return !sami_origin_contains(origin, &s->key);
}
