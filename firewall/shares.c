#include "firewall/shares.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "firewall/mapped-file.h"

#define MAGIC 0x53414d4953485231ull /* SAMISHR1 */
#define SLOTS_MIN 1024u
#define FREE 0u
#define GONE 1u

typedef struct {
    guint64 magic;
    gchar boot[SAMI_BOOT_ID];
    guint64 secret[2]; /* of the hash: keys are chosen by others */
    guint64 n_slots;   /* a power of two */
    guint64 n_shares, n_gone;
    guint32 round;       /* of the sweep */
    guint32 is_replaced; /* readers map the file anew */
} Header;

typedef struct {
    guint64 hash[2]; /* of set and key; FREE and GONE in the first */
    SamiShare share;
    guint32 set;     /* hash of its name */
    guint32 round;
} Slot;

struct SamiShares {
    gchar *path;
    gboolean is_writer;
    int lock;       /* descriptor of the lock file; -1: none yet */
    Header *header; /* NULL: nothing mapped */
    Slot *slots;
    gsize size;
};

typedef struct {
    guint64 hash[2];
    guint32 set;
} Place;

static gsize
size_of(guint64 n_slots)
{
    return sizeof(Header) + n_slots * sizeof(Slot);
}

static gboolean
fail(const gchar *path, GError **error)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s", path, g_strerror(errno));
    return FALSE;
}

void
sami_share_origin(const gchar *firewall, guint8 ret[SAMI_SHARE_ORIGIN])
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    guint8 digest[32];
    gsize n = sizeof digest;
    g_checksum_update(sum, (const guchar *) firewall, -1);
    g_checksum_get_digest(sum, digest, &n);
    memcpy(ret, digest, SAMI_SHARE_ORIGIN);
}

static void
unmap(SamiShares *shares)
{
    if (shares->header)
        munmap(shares->header, shares->size);
    shares->header = NULL;
    shares->slots = NULL;
}

static void
take(SamiShares *shares, gpointer memory, gsize size)
{
    unmap(shares);
    shares->header = memory;
    shares->slots = (Slot *) (void *) (shares->header + 1);
    shares->size = size;
}

static gboolean
is_usable(const SamiShares *shares)
{
    const Header *h = shares->header;
    gchar boot[SAMI_BOOT_ID];
    sami_mapped_file_boot(boot);
    return h->magic == MAGIC && h->n_slots >= SLOTS_MIN && (h->n_slots & (h->n_slots - 1)) == 0 && shares->size == size_of(h->n_slots) &&
           memcmp(h->boot, boot, sizeof boot) == 0;
}

static gboolean
open_file(SamiShares *shares)
{
    gpointer memory;
    gsize size;
    if (!sami_mapped_file_open(shares->path, shares->is_writer, size_of(SLOTS_MIN), &memory, &size))
        return FALSE;
    take(shares, memory, size);
    if (!is_usable(shares))
        unmap(shares);
    return shares->header != NULL;
}

/* On failure what was mapped before stays. */
static gboolean
make_file(SamiShares *shares, const Header *header, GError **error)
{
    gpointer memory;
    gsize size = size_of(header->n_slots);
    if (!sami_mapped_file_make(shares->path, size, &memory, error))
        return FALSE;
    take(shares, memory, size);
    *shares->header = *header;
    return TRUE;
}

static void
open_lock(SamiShares *shares)
{
    g_autofree gchar *path = g_strconcat(shares->path, ".lock", NULL);
    if (shares->lock < 0)
        shares->lock = open(path, (shares->is_writer ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW, 0600);
}

SamiShares *
sami_shares_watch(const gchar *path)
{
    SamiShares *shares = g_new0(SamiShares, 1);
    shares->path = g_strdup(path);
    shares->lock = -1;
    return shares;
}

SamiShares *
sami_shares_new(const gchar *path, GError **error)
{
    g_autoptr(SamiShares) shares = sami_shares_watch(path);
    Header header = { .magic = MAGIC, .n_slots = SLOTS_MIN };
    shares->is_writer = TRUE;
    open_lock(shares);
    if (shares->lock < 0)
        return fail(path, error), NULL;
    if (open_file(shares))
        return g_steal_pointer(&shares);
    sami_mapped_file_boot(header.boot);
    if (getrandom(header.secret, sizeof header.secret, 0) != sizeof header.secret)
        return fail(path, error), NULL;
    return make_file(shares, &header, error) && sami_mapped_file_publish(shares->path, error) ? g_steal_pointer(&shares) : NULL;
}

void
sami_shares_free(SamiShares *shares)
{
    if (!shares)
        return;
    unmap(shares);
    if (shares->lock >= 0)
        close(shares->lock);
    g_free(shares->path);
    g_free(shares);
}

void
sami_shares_lock(SamiShares *shares)
{
    open_lock(shares); /* a reader may be there before the writer has ever been */
    while (shares->lock >= 0 && flock(shares->lock, shares->is_writer ? LOCK_EX : LOCK_SH) != 0 && errno == EINTR)
        ;
    if (!shares->is_writer && (!shares->header || shares->header->is_replaced))
        open_file(shares);
}

void
sami_shares_unlock(SamiShares *shares)
{
    if (shares->lock >= 0)
        flock(shares->lock, LOCK_UN);
}

/* Multiply and fold, keyed, as in origin.c. */
static guint64
fold(guint64 hash, guint64 word, guint64 secret)
{
    unsigned __int128 product = (unsigned __int128) (word ^ hash) * (secret | 1);
    return (guint64) product ^ (guint64) (product >> 64) ^ (hash << 23 | hash >> 41);
}

static Place
place_of(const Header *header, const gchar *set, const guint8 *key, guint8 key_length)
{
    Place place = { .hash = { header->secret[0], header->secret[1] }, .set = g_str_hash(set) };
    guint64 words[2 + 256 / 8] = { place.set, key_length };
    memcpy(&words[2], key, key_length);
    for (guint i = 0; i < 2 + (key_length + 7u) / 8; i++) {
        place.hash[0] = fold(place.hash[0], words[i], header->secret[1]);
        place.hash[1] = fold(place.hash[1], words[i], header->secret[0]);
    }
    place.hash[0] = fold(place.hash[0], header->secret[1], 0x9e3779b97f4a7c15ull);
    place.hash[0] += place.hash[0] <= GONE ? 2 : 0;
    return place;
}

/* The next slot of this key from *at on; NULL at the end of the chain. */
static Slot *
next_slot(const SamiShares *shares, const Place *place, guint64 *n)
{
    guint64 mask = shares->header->n_slots - 1;
    for (; *n <= mask; ++*n) {
        Slot *slot = &shares->slots[(place->hash[0] + *n) & mask];
        if (slot->hash[0] == FREE)
            return NULL;
        if (memcmp(slot->hash, place->hash, sizeof place->hash) == 0) {
            ++*n;
            return slot;
        }
    }
    return NULL;
}

guint
sami_shares_get(const SamiShares *shares, const gchar *set, const guint8 *key, guint8 key_length, SamiShare ret[SAMI_SHARES_A_KEY])
{
    guint n_found = 0;
    guint64 n = 0;
    const Slot *slot;
    if (!shares->header)
        return 0;
    Place place = place_of(shares->header, set, key, key_length);
    while (n_found < SAMI_SHARES_A_KEY && (slot = next_slot(shares, &place, &n)))
        ret[n_found++] = slot->share;
    return n_found;
}

static void
put(SamiShares *shares, const Slot *content)
{
    guint64 mask = shares->header->n_slots - 1, i = content->hash[0] & mask;
    while (shares->slots[i].hash[0] > GONE)
        i = (i + 1) & mask;
    shares->header->n_gone -= shares->slots[i].hash[0] == GONE;
    shares->header->n_shares++;
    shares->slots[i] = *content;
}

/* Into a table of the right size. Readers see it at their next lock. */
static gboolean
resize(SamiShares *shares, guint64 n_slots)
{
    SamiShares old = *shares;
    Header header = *old.header;
    header.n_slots = n_slots;
    header.n_shares = header.n_gone = 0;
    shares->header = NULL;
    shares->slots = NULL;
    if (!make_file(shares, &header, NULL) || !sami_mapped_file_publish(shares->path, NULL)) {
        unmap(shares);
        *shares = old;
        return FALSE;
    }
    for (guint64 i = 0; i < old.header->n_slots; i++)
        if (old.slots[i].hash[0] > GONE)
            put(shares, &old.slots[i]);
    old.header->is_replaced = 1;
    munmap(old.header, old.size);
    return TRUE;
}

static gboolean
make_room(SamiShares *shares)
{
    const Header *h = shares->header;
    if (h->n_shares + h->n_gone + 1 <= h->n_slots / 4 * 3)
        return TRUE;
    if (h->n_shares + 1 > SAMI_SHARES_MAX)
        return FALSE;
    return resize(shares, h->n_shares + 1 > h->n_slots / 2 ? h->n_slots * 2 : h->n_slots) || h->n_shares + h->n_gone + 1 < h->n_slots;
}

static void
remove_slot(SamiShares *shares, Slot *slot)
{
    *slot = (Slot){ .hash = { GONE } };
    shares->header->n_shares--;
    shares->header->n_gone++;
}

gboolean
sami_shares_set(SamiShares *shares, const gchar *set, const guint8 *key, guint8 key_length, const SamiShare *share)
{
    Place place = place_of(shares->header, set, key, key_length);
    gboolean is_none = share->packets == 0 && share->octets == 0 && share->quota == 0;
    guint n_found = 0;
    guint64 n = 0;
    Slot *slot;
    while ((slot = next_slot(shares, &place, &n)) && memcmp(slot->share.origin, share->origin, SAMI_SHARE_ORIGIN) != 0)
        n_found++;
    if (slot && is_none)
        remove_slot(shares, slot);
    else if (slot)
        slot->share = *share;
    if (slot || is_none)
        return TRUE;
    if (n_found >= SAMI_SHARES_A_KEY || !make_room(shares))
        return FALSE;
    put(shares, &(Slot){ .hash = { place.hash[0], place.hash[1] }, .share = *share, .set = place.set, .round = shares->header->round });
    return TRUE;
}

void
sami_shares_forget(SamiShares *shares, const gchar *set, const guint8 *key, guint8 key_length)
{
    Place place = place_of(shares->header, set, key, key_length);
    guint64 n = 0;
    Slot *slot;
    while ((slot = next_slot(shares, &place, &n)))
        remove_slot(shares, slot);
}

guint
sami_shares_n(const SamiShares *shares)
{
    return shares->header ? (guint) shares->header->n_shares : 0;
}

void
sami_shares_sweep_begin(SamiShares *shares)
{
    shares->header->round++;
}

void
sami_shares_mark(SamiShares *shares, const gchar *set, const guint8 *key, guint8 key_length)
{
    Place place = place_of(shares->header, set, key, key_length);
    guint64 n = 0;
    Slot *slot;
    while ((slot = next_slot(shares, &place, &n)))
        slot->round = shares->header->round;
}

void
sami_shares_sweep_end(SamiShares *shares, const gchar *set)
{
    guint32 name = g_str_hash(set);
    for (guint64 i = 0; i < shares->header->n_slots; i++) {
        Slot *slot = &shares->slots[i];
        if (slot->hash[0] > GONE && slot->set == name && slot->round != shares->header->round)
            remove_slot(shares, slot);
    }
}

typedef struct {
    SamiShares *shares;
    const gchar *name;
} Sweep;

static void
on_element(const SamiSetElement *element, gpointer user_data)
{
    const Sweep *sweep = user_data;
    sami_shares_mark(sweep->shares, sweep->name, element->key, element->key_length);
}

void
sami_shares_sweep(SamiShares *shares, const gchar *name, SamiSet *set, const SamiSetInfo *info)
{
    Sweep sweep = { shares, name };
    SamiSetDumpStatus status = SAMI_SET_DUMP_BAD;
    sami_shares_sweep_begin(shares);
    if (sami_set_dump_start(set, info, NULL))
        while ((status = sami_set_dump_next(set, on_element, &sweep, NULL)) == SAMI_SET_DUMP_MORE)
            ;
    if (status == SAMI_SET_DUMP_END)
        sami_shares_sweep_end(shares, name);
}

static void
add_up(const SamiShare *shares, guint n, SamiShare *ret)
{
    memset(ret, 0, sizeof *ret);
    for (guint i = 0; i < n; i++) {
        ret->packets += shares[i].packets;
        ret->octets += shares[i].octets;
        ret->quota += shares[i].quota;
    }
}

static gboolean
is_less(const SamiSetElement *e, const SamiShare *sum)
{
    return e->packets < sum->packets || e->octets < sum->octets || e->quota_used < sum->quota;
}

/* A part of a dump may have been filled before the collector here wrote what it then noted, so an element that has too little is looked at again; if it
 * still has, it has been made anew. */
guint
sami_shares_parts(const SamiShares *shares, const gchar *set, SamiSet *again, const SamiSetInfo *info, const guint8 self[SAMI_SHARE_ORIGIN],
                  SamiSetElement *e, SamiShare ret[SAMI_SHARES_A_KEY + 1])
{
    SamiShare sum;
    gboolean is_found = FALSE;
    guint n = sami_shares_get(shares, set, e->key, e->key_length, ret + 1);
    add_up(ret + 1, n, &sum);
    if (is_less(e, &sum)) {
        SamiSetElement fresh = *e;
        if (sami_set_get(again, info, e, 1, &fresh, &is_found, NULL) && is_found && !is_less(&fresh, &sum)) {
            *e = fresh;
        } else {
            n = 0;
            memset(&sum, 0, sizeof sum);
        }
    }
    ret[0] = (SamiShare){ .packets = e->packets - sum.packets, .octets = e->octets - sum.octets, .quota = e->quota_used - sum.quota };
    memcpy(ret[0].origin, self, SAMI_SHARE_ORIGIN);
    return n + 1;
}

void
sami_share_record(const gchar *set, const SamiSetInfo *info, const SamiSetElement *e, const SamiShare *share, SamiCumulative *ret)
{
    *ret = (SamiCumulative){ .key_type = info->key_type, .key_length = e->key_length, .packets = share->packets, .octets = share->octets,
                             .quota_used = share->quota, .quota_limit = e->quota_limit, .timeout_ms = e->timeout_ms, .remaining_ms = e->remaining_ms };
    memcpy(ret->set, set, MIN(strlen(set), sizeof ret->set));
    memcpy(ret->origin, share->origin, sizeof ret->origin);
    memcpy(ret->key, e->key, sizeof ret->key);
    if (!sami_set_key_address(ret->key_type, e->key, e->key_length, &ret->family, &ret->source))
        ret->family = 0;
    ret->has = (e->has & SAMI_SET_HAS_COUNTER ? SAMI_CUMULATIVE_COUNTER : 0) | (e->has & SAMI_SET_HAS_QUOTA ? SAMI_CUMULATIVE_QUOTA : 0) |
               (e->has & SAMI_SET_HAS_TIMEOUT ? SAMI_CUMULATIVE_TIMEOUT : 0);
    ret->quota_flags = e->has & SAMI_SET_QUOTA_OVER ? SAMI_QUOTA_OVER : 0;
}
