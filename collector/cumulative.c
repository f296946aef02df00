/* Elements of nftables sets at their destination (LIFECYCLE §10).
 *
 * Whole values come, each under the name of the firewall that counted. What is added is the difference to what that firewall has brought here
 * before (firewall/shares.h), so a record that comes again adds nothing. An element is written by delete and add in one transaction, with the value that
 * was read just before; what packets count in between is lost: the error of the method, some hundred microseconds a slice. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "collector/set-log.h"
#include "collector/kinds.h"
#include "firewall/sets.h"
#include "firewall/shares.h"

#define SLICE 128u          /* elements that are read, and then written, at once */
#define TRIES 4u            /* with packets that make elements, or elements that expire, in between */
#define TRIES_ALONE 16u
#define PLACES 512u         /* of a slice's keys by their hash */
#define SWEEP_FROM 65536u   /* shares that may belong to elements which are gone */
#define VALUE_MAX ((guint64) 1 << 62)
#define TOLERANCE_MS 1000   /* by which two clocks may differ about the same end */

G_STATIC_ASSERT(SAMI_CUMULATIVE_NAME_MAX == SAMI_SET_LOG_NAME);

/* One set of the configuration. */
typedef struct {
    const SamiConfigCumulative *config;
    SamiSet *set;      /* NULL: cannot be opened, why is in `text` */
    SamiSetInfo info;
    SamiSetStatus status;
    gchar *text;
    guint64 n_made;
    gboolean is_full;  /* in this slice: the kernel has said so */
    guint64 listed;    /* reasons of which the operator has been told */
} Target;

typedef struct {
    const SamiKindContext *context;
    SamiShares *shares;
    GArray *targets;   /* of Target */
    guint8 self[SAMI_SHARE_ORIGIN], source[SAMI_SHARE_ORIGIN];
    SamiSetLog *log;
} State;

/* One element of a slice, and the records about it. */
typedef struct {
    SamiSetElement now, then; /* in the kernel, and to be */
    gboolean is_there, is_there_again;
    gboolean is_changed;
    guint first, n;    /* in the slice's order */
    gint64 old_end_ms, new_end_ms;
} Change;

/* A record of the slice: what it adds. */
typedef struct {
    const SamiCumulative *record;
    guint change;
    SamiShare add, share; /* share: what is remembered then */
} Part;

typedef struct {
    State *state;
    Target *target;
    guint8 index;
    guint64 age_ms, counter;
    SamiKindCounts *counts;
    Part *parts;
    guint n_parts;
    Change *changes;
    guint n_changes;
} Slice;

/* The same for a process that is started anew, and stands still with the machine, as the kernel's timers do. */
static gint64
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (gint64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
target_clear(gpointer data)
{
    Target *target = data;
    sami_set_free(target->set);
    g_free(target->text);
}

static gboolean
write_intents(Slice *slice, guint first, guint n)
{
    SamiSetLog *log = slice->state->log;
    for (guint i = first; i < first + n; i++) {
        const Change *change = &slice->changes[i];
        for (guint k = 0; change->is_changed && k < slice->n_parts; k++) {
            const Part *part = &slice->parts[k];
            if (part->change != i || (k != change->first && part->add.packets == 0 && part->add.octets == 0 && part->add.quota == 0))
                continue;
            SamiAdded added = { .key_length = change->then.key_length, .target = slice->index, .is_made = !change->is_there,
                                .packets = part->add.packets, .octets = part->add.octets, .quota = part->add.quota,
                                .old_end_ms = change->old_end_ms, .new_end_ms = change->new_end_ms };
            memcpy(added.origin, part->record->origin, SAMI_SHARE_ORIGIN);
            sami_set_log_add(log, &added, change->then.key);
        }
    }
    return sami_set_log_write(log);
}

/* State. */

static void
look(Target *target)
{
    g_autoptr(GError) error = NULL;
    target->is_full = FALSE;
    if (!target->set && !(target->set = sami_set_new(target->config->table, target->config->set, &error)))
        target->status = SAMI_SET_FAILED;
    else
        target->status = sami_set_look(target->set, &target->info, &error);
    g_free(target->text);
    target->text = error ? g_strdup(error->message) : NULL;
}

/* Shares of elements that have expired meanwhile go. */
static void
sweep(State *state)
{
    sami_shares_lock(state->shares);
    for (guint i = 0; i < state->targets->len; i++) {
        Target *target = &g_array_index(state->targets, Target, i);
        look(target);
        if (target->status == SAMI_SET_FINE)
            sami_shares_sweep(state->shares, target->config->name, target->set, &target->info);
    }
    sami_shares_unlock(state->shares);
}

static void
close_state(gpointer data)
{
    State *state = data;
    sami_shares_free(state->shares);
    g_array_unref(state->targets);
    sami_set_log_free(state->log);
    g_free(state);
}

static gpointer
open_state(const SamiKindContext *context, GError **error)
{
    const SamiConfig *config = context->config;
    g_autofree gchar *path = g_build_filename(config->run_dir, "shares", NULL);
    g_autofree const gchar **names = g_new0(const gchar *, config->cumulatives->len + 1);
    State *state = g_new0(State, 1);
    state->context = context;
    state->targets = g_array_new(FALSE, TRUE, sizeof(Target));
    g_array_set_clear_func(state->targets, target_clear);
    sami_share_origin(config->name, state->self);
    sami_share_origin(context->peer, state->source);
    for (guint i = 0; i < config->cumulatives->len; i++) {
        Target target = { .config = g_ptr_array_index(config->cumulatives, i) };
        g_array_append_val(state->targets, target);
        names[i] = target.config->name;
    }
    if (!(state->shares = sami_shares_new(path, error)) || !(state->log = sami_set_log_new(names, context->log_path, error))) {
        close_state(state);
        return NULL;
    }
    if (sami_shares_n(state->shares) >= SWEEP_FROM)
        sweep(state);
    return state;
}

/* Records. */

static void G_GNUC_PRINTF(4, 5)
refuse(Slice *slice, const Part *part, SamiReason reason, const gchar *format, ...)
{
    g_autofree gchar *text = NULL, *line = NULL;
    guint bit = reason % 64;
    if (slice->target && !(slice->target->listed & (guint64) 1 << bit)) { /* the first one of a set and reason stands for all */
        va_list args;
        va_start(args, format);
        text = g_strdup_vprintf(format, args);
        va_end(args);
        line = g_strdup_printf("%.32s: %s", part->record->set, text);
        slice->target->listed |= (guint64) 1 << bit;
    }
    sami_kind_refuse(slice->counts, reason, slice->counter, line);
}

/* What a record must be before anything is done; FALSE, and it has been refused. */
static gboolean
check(Slice *slice, const Part *part)
{
    const SamiCumulative *r = part->record;
    const Target *target = slice->target;
    const SamiSetInfo *info = &target->info;
    const SamiKindContext *context = slice->state->context;
    g_autofree gchar *key = NULL;
    if (target->status != SAMI_SET_FINE) {
        refuse(slice, part, target->status == SAMI_SET_UNFIT ? SAMI_REASON_SET_TYPE : target->status == SAMI_SET_MISSING ? SAMI_REASON_SET_MISSING
               : SAMI_REASON_KERNEL, "%s", target->text);
    } else if (r->key_length != info->key_length || r->key_type != info->key_type) {
        refuse(slice, part, SAMI_REASON_SET_TYPE, "set '%s' here has keys of nft type %u and %u octets, not of %u and %u", sami_set_title(target->set),
               info->key_type, info->key_length, r->key_type, r->key_length);
    } else if ((r->has & SAMI_CUMULATIVE_TIMEOUT) && !info->has_timeouts) {
        refuse(slice, part, SAMI_REASON_SET_TYPE, "set '%s' here has no timeouts, and the element must not stay for ever", sami_set_title(target->set));
    } else if ((info->has & SAMI_SET_HAS_OTHER) && (r->has & (SAMI_CUMULATIVE_COUNTER | SAMI_CUMULATIVE_QUOTA))) {
        refuse(slice, part, SAMI_REASON_SET_TYPE, "elements of '%s' here get an expression of which the kernel takes no state",
               sami_set_title(target->set));
    } else if (MAX(MAX(r->packets, r->octets), MAX(r->quota_used, r->quota_limit)) > VALUE_MAX || MAX(r->timeout_ms, r->remaining_ms) > VALUE_MAX / 1000000) {
        refuse(slice, part, SAMI_REASON_STATE_RANGE, "a value out of range");
    } else if (g_str_equal(target->config->select, "vm") && !sami_set_key_is_of(r->key_type, r->key, r->key_length, context->vm, context->n_vm)) {
        key = sami_set_key_print(r->key_type, r->key, r->key_length);
        refuse(slice, part, SAMI_REASON_KEY_NOT_VM, "%s", key);
    } else {
        return TRUE;
    }
    return FALSE;
}

/* The records of a slice by element. */
static void
group(Slice *slice)
{
    guint16 places[PLACES] = { 0 }; /* number of the change, plus 1 */
    for (guint k = 0; k < slice->n_parts; k++) {
        const SamiCumulative *r = slice->parts[k].record;
        guint32 hash = 5381;
        for (guint i = 0; i < r->key_length; i++)
            hash = hash * 33 + r->key[i];
        while (places[hash % PLACES] && memcmp(slice->changes[places[hash % PLACES] - 1].now.key, r->key, sizeof r->key) != 0)
            hash++;
        guint16 *place = &places[hash % PLACES];
        if (!*place) {
            slice->changes[slice->n_changes] = (Change){ .now.key_length = r->key_length, .first = k };
            memcpy(slice->changes[slice->n_changes].now.key, r->key, sizeof r->key);
            *place = (guint16) ++slice->n_changes;
        }
        slice->parts[k].change = *place - 1u;
    }
}

static guint64
surplus(guint64 claimed, guint64 known)
{
    return claimed > known ? claimed - known : 0;
}

/* Many claims together may be more than a number holds: then it is the largest one, as a counter that began anew would forget what was counted here. */
static guint64
add_up(guint64 a, guint64 b)
{
    return a > G_MAXUINT64 - b ? G_MAXUINT64 : a + b;
}

/* As much of `add` as `now` has room for. */
static guint64
fit(guint64 now, guint64 add)
{
    return MIN(add, surplus(VALUE_MAX, now));
}

/* What the record adds to what its firewall has brought. A firewall that tells far less of itself than before has made its element anew. */
static void
take_difference(const State *state, Part *part, const SamiShare *known)
{
    const SamiCumulative *r = part->record;
    SamiShare base = *known;
    if (memcmp(r->origin, state->source, SAMI_SHARE_ORIGIN) == 0 && r->packets < base.packets / 2 && r->octets <= base.octets && r->quota_used <= base.quota)
        memset(&base, 0, sizeof base);
    part->add = (SamiShare){ .packets = surplus(r->packets, base.packets), .octets = surplus(r->octets, base.octets),
                             .quota = surplus(r->quota_used, base.quota) };
    part->share = (SamiShare){ .packets = base.packets + part->add.packets, .octets = base.octets + part->add.octets,
                               .quota = base.quota + part->add.quota };
    memcpy(part->share.origin, r->origin, SAMI_SHARE_ORIGIN);
}

static SamiShare
share_of(const SamiShare *shares, guint n, const guint8 *origin)
{
    SamiShare none = { .packets = 0 };
    for (guint i = 0; i < n; i++)
        if (memcmp(shares[i].origin, origin, SAMI_SHARE_ORIGIN) == 0)
            return shares[i];
    return none;
}

/* An element that has less than was brought is another one than then: what is remembered is of no use. */
static guint
read_shares(Slice *slice, const Change *change, SamiShare *ret_shares, SamiShare *ret_own)
{
    SamiShares *shares = slice->state->shares;
    const gchar *name = slice->target->config->name;
    const SamiSetElement *now = &change->now;
    SamiShare sum = { .packets = 0 };
    guint n = sami_shares_get(shares, name, now->key, now->key_length, ret_shares);
    for (guint i = 0; i < n; i++) {
        sum.packets = add_up(sum.packets, ret_shares[i].packets);
        sum.octets = add_up(sum.octets, ret_shares[i].octets);
        sum.quota = add_up(sum.quota, ret_shares[i].quota);
    }
    if (n > 0 && (!change->is_there || now->packets < sum.packets || now->octets < sum.octets || now->quota_used < sum.quota)) {
        sami_shares_forget(shares, name, now->key, now->key_length);
        memset(&sum, 0, sizeof sum);
        n = 0;
    }
    *ret_own = (SamiShare){ .packets = now->packets - sum.packets, .octets = now->octets - sum.octets, .quota = now->quota_used - sum.quota };
    return n;
}

/* Which expressions the element gets: those of the set, otherwise those that it has, otherwise those that it had at the source. */
static void
choose_expressions(Slice *slice, Change *change, const SamiCumulative *r)
{
    const SamiSetInfo *info = &slice->target->info;
    SamiSetElement *then = &change->then;
    guint8 wanted = (r->has & SAMI_CUMULATIVE_COUNTER ? SAMI_SET_HAS_COUNTER : 0) | (r->has & SAMI_CUMULATIVE_QUOTA ? SAMI_SET_HAS_QUOTA : 0);
    guint8 both = SAMI_SET_HAS_COUNTER | SAMI_SET_HAS_QUOTA;
    guint8 allowed = info->has & both ? info->has & both : info->has & SAMI_SET_HAS_OTHER ? 0 : both;
    if (wanted & ~allowed)
        sami_kind_degrade(slice->counts, SAMI_REASON_COUNT_LOST, slice->counter, NULL);
    then->has |= info->has & both ? info->has & both : wanted & allowed;
    if (!(then->has & SAMI_SET_HAS_QUOTA) || (change->is_there && (change->now.has & SAMI_SET_HAS_QUOTA)))
        return;
    gboolean is_declared = (info->has & SAMI_SET_HAS_QUOTA) != 0;
    then->quota_limit = is_declared ? info->quota_limit : r->quota_limit;
    if (is_declared ? (info->has & SAMI_SET_QUOTA_OVER) != 0 : (r->quota_flags & SAMI_QUOTA_OVER) != 0)
        then->has |= SAMI_SET_QUOTA_OVER;
}

/* The longer time wins, and no time at all is the longest. */
static void
choose_time(Slice *slice, Change *change, const SamiCumulative *r, gint64 at_ms)
{
    SamiSetElement *then = &change->then;
    gint64 remaining_ms = (gint64) r->remaining_ms - (gint64) slice->age_ms;
    if (!(r->has & SAMI_CUMULATIVE_TIMEOUT)) {
        if (slice->target->info.timeout_ms == 0 && (then->has & SAMI_SET_HAS_TIMEOUT)) {
            change->old_end_ms = at_ms + (gint64) change->now.remaining_ms;
            then->has &= (guint8) ~SAMI_SET_HAS_TIMEOUT;
            change->is_changed = TRUE;
        }
        return;
    }
    if (change->is_there_again && !(then->has & SAMI_SET_HAS_TIMEOUT))
        return;
    if (change->is_there_again && remaining_ms <= (gint64) then->remaining_ms + TOLERANCE_MS)
        return;
    if (change->is_there && !change->old_end_ms)
        change->old_end_ms = at_ms + (gint64) change->now.remaining_ms;
    then->has |= SAMI_SET_HAS_TIMEOUT;
    then->remaining_ms = (guint64) MAX(remaining_ms, 1);
    then->timeout_ms = change->is_there ? change->now.timeout_ms : r->timeout_ms;
    change->new_end_ms = at_ms + remaining_ms;
    change->is_changed = TRUE;
}

/* One record into what its element is to be. */
static void
add_part(Slice *slice, Change *change, Part *part, gint64 at_ms)
{
    SamiShare shares[SAMI_SHARES_A_KEY], own;
    const SamiCumulative *r = part->record;
    guint n = read_shares(slice, change, shares, &own);
    SamiShare known = memcmp(r->origin, slice->state->self, SAMI_SHARE_ORIGIN) == 0 ? own : share_of(shares, n, r->origin);
    choose_expressions(slice, change, r);
    choose_time(slice, change, r, at_ms);
    take_difference(slice->state, part, &known);
    if (!(change->then.has & SAMI_SET_HAS_COUNTER))
        part->add.packets = part->add.octets = 0;
    if (!(change->then.has & SAMI_SET_HAS_QUOTA))
        part->add.quota = 0;
    part->add.packets = fit(change->then.packets, part->add.packets);
    part->add.octets = fit(change->then.octets, part->add.octets);
    part->add.quota = fit(change->then.quota_used, part->add.quota);
    change->then.packets += part->add.packets;
    change->then.octets += part->add.octets;
    change->then.quota_used += part->add.quota;
    change->is_changed |= !change->is_there || part->add.packets > 0 || part->add.octets > 0 || part->add.quota > 0;
    change->is_there_again = TRUE;
}

/* From what the kernel has now to what it is to have. */
static void
plan(Slice *slice, guint first, guint n)
{
    gint64 at_ms = now_ms();
    for (guint i = first; i < first + n; i++) {
        Change *change = &slice->changes[i];
        change->then = change->now;
        change->is_there_again = change->is_there;
        change->is_changed = FALSE;
        change->old_end_ms = change->new_end_ms = 0;
    }
    for (guint k = 0; k < slice->n_parts; k++) {
        Part *part = &slice->parts[k];
        if (part->change >= first && part->change < first + n)
            add_part(slice, &slice->changes[part->change], part, at_ms);
    }
}

/* What its signer allows, of all sets together. */
static gboolean
has_made_all(const State *state, guint64 n_made)
{
    for (guint i = 0; i < state->targets->len; i++)
        n_made += g_array_index(state->targets, Target, i).n_made;
    return state->context->max_elements > 0 && n_made >= state->context->max_elements;
}

/* What is no error of the whole: this element stays as it is. */
static const struct {
    int error;
    SamiReason reason;
    const gchar *text;
} obstacles[] = {
    { ENFILE, SAMI_REASON_SET_FULL, "no room for another element (the set's size, or max-elements)" },
    { EUSERS, SAMI_REASON_MAX_ELEMENTS, "the signer's max-elements are made" },
    { EOPNOTSUPP, SAMI_REASON_SET_TYPE, "its expressions here cannot be written" },
    { EDQUOT, SAMI_REASON_LIMIT, "no room for what an undo, or who comes next, has to know of it" },
};

static int
find_obstacle(const Slice *slice, const Change *change, guint64 n_made)
{
    const Target *target = slice->target;
    if (!change->is_changed)
        return 0;
    if (change->is_there && (change->now.has & SAMI_SET_HAS_OTHER))
        return EOPNOTSUPP;
    if (!change->is_there && (target->is_full || target->n_made + n_made >= target->config->max_elements))
        return ENFILE;
    if (!change->is_there && has_made_all(slice->state, n_made))
        return EUSERS;
    return sami_shares_n(slice->state->shares) + SLICE > SAMI_SHARES_MAX ? EDQUOT : 0;
}

static void
count(Slice *slice, guint first, guint n, SamiReason reason, const gchar *text)
{
    for (guint k = 0; k < slice->n_parts; k++) {
        Part *part = &slice->parts[k];
        if (part->change < first || part->change >= first + n)
            continue;
        if (reason != SAMI_REASON_NONE)
            refuse(slice, part, reason, "%s", text);
        else if (slice->changes[part->change].is_changed)
            slice->counts->n_applied++;
        else
            slice->counts->n_unchanged++;
    }
}

/* Looks, plans, notes, writes. Positive errno: nothing has been written. */
static int
write_changes(Slice *slice, guint first, guint n)
{
    State *state = slice->state;
    SamiSetWrite writes[SLICE];
    SamiSetElement elements[SLICE] = { 0 };
    gboolean found[SLICE];
    guint n_writes = 0, n_made = 0, n_logged = sami_set_log_n(state->log);
    g_autoptr(GError) error = NULL;
    for (guint i = 0; i < n; i++)
        elements[i] = slice->changes[first + i].now;
    if (!sami_set_get(slice->target->set, &slice->target->info, elements, n, elements, found, &error))
        return EIO;
    for (guint i = 0; i < n; i++) {
        slice->changes[first + i].now = elements[i];
        slice->changes[first + i].is_there = found[i];
    }
    plan(slice, first, n);
    for (guint i = first; i < first + n; i++) {
        Change *change = &slice->changes[i];
        int obstacle = find_obstacle(slice, change, n_made);
        if (obstacle != 0)
            return n > 1 ? EXDEV : obstacle;
        if (change->is_changed)
            writes[n_writes++] = (SamiSetWrite){ &change->then, change->is_there, FALSE };
        n_made += change->is_changed && !change->is_there;
    }
    if (n_writes == 0)
        return 0;
    int result = write_intents(slice, first, n) ? sami_set_write(slice->target->set, &slice->target->info, writes, n_writes, &slice->counts->n_lost) : EDQUOT;
    if (result != 0) {
        sami_set_log_forget(state->log, sami_set_log_n(state->log) - n_logged);
        return result;
    }
    slice->target->n_made += n_made;
    for (guint k = 0; k < slice->n_parts; k++) {
        const Part *part = &slice->parts[k];
        const Change *change = &slice->changes[part->change];
        if (part->change >= first && part->change < first + n && change->is_changed &&
            memcmp(part->share.origin, state->self, SAMI_SHARE_ORIGIN) != 0)
            sami_shares_set(state->shares, slice->target->config->name, change->then.key, change->then.key_length, &part->share);
    }
    return 0;
}

/* A transaction that fails is tried again with what is there now; then its halves are, so that one element does not stop the others. */
static void
carry_out(Slice *slice, guint first, guint n)
{
    int result = 0;
    for (guint try = 0; try < (n > 1 ? TRIES : TRIES_ALONE); try++) {
        result = write_changes(slice, first, n);
        if (result != ENOENT && result != EEXIST)
            break;
    }
    if (result == 0) {
        count(slice, first, n, SAMI_REASON_NONE, NULL);
        return;
    }
    if (n > 1) {
        carry_out(slice, first, n / 2);
        carry_out(slice, first + n / 2, n - n / 2);
        return;
    }
    SamiReason reason = SAMI_REASON_KERNEL;
    const gchar *why = g_strerror(result);
    for (guint i = 0; i < G_N_ELEMENTS(obstacles); i++)
        if (obstacles[i].error == result) {
            reason = obstacles[i].reason;
            why = obstacles[i].text;
        }
    const Change *change = &slice->changes[first];
    g_autofree gchar *key = sami_set_key_print(slice->target->info.key_type, change->now.key, change->now.key_length);
    g_autofree gchar *text = g_strdup_printf("%s: %s", key, why);
    slice->target->is_full |= result == ENFILE;
    count(slice, first, n, reason, text);
}

static void
apply_slice(State *state, guint8 index, const SamiCumulative *records, guint n, guint64 age_ms, guint64 counter, SamiKindCounts *counts)
{
    Part parts[SLICE];
    g_autofree Change *changes = g_new(Change, SLICE);
    Slice slice = { .state = state, .target = &g_array_index(state->targets, Target, index), .index = index, .age_ms = age_ms, .counter = counter,
                    .counts = counts, .parts = parts, .changes = changes };
    for (guint i = 0; i < n; i++) {
        parts[slice.n_parts] = (Part){ .record = &records[i] };
        slice.n_parts += check(&slice, &parts[slice.n_parts]) ? 1 : 0;
    }
    group(&slice);
    sami_shares_lock(state->shares);
    if (slice.n_changes > 0)
        carry_out(&slice, 0, slice.n_changes);
    sami_shares_unlock(state->shares);
}

static void
apply(gpointer data, gconstpointer records, guint n, guint64 age_ms, guint64 counter, SamiKindCounts *counts)
{
    State *state = data;
    const SamiCumulative *all = records;
    counts->n_records += n;
    for (guint i = 0; i < n;) {
        guint end = i + 1, target;
        while (end < n && end - i < SLICE && memcmp(all[end].set, all[i].set, sizeof all[i].set) == 0)
            end++;
        if (sami_set_log_find(state->log, all[i].set, &target)) {
            look(&g_array_index(state->targets, Target, target));
            apply_slice(state, (guint8) target, all + i, end - i, age_ms, counter, counts);
        } else {
            g_autofree gchar *name = g_strndup(all[i].set, sizeof all[i].set), *quoted = g_strescape(name, NULL);
            g_autofree gchar *text = g_strdup_printf("there is no group [cumulative %s] here", quoted);
            for (guint k = i; k < end; k++)
                sami_kind_refuse(counts, SAMI_REASON_SET_MISSING, counter, k == 0 ? text : NULL);
        }
        i = end;
    }
}

/* Taking back. */

typedef struct {
    SamiSetElement now;
    gboolean is_there, is_made, is_going;
    guint64 packets, octets, quota;
    gint64 old_end_ms, new_end_ms; /* of the first and of the last change */
} Undo;

static gboolean
is_key_of(const State *state, const SamiAdded *added, const Undo *undo)
{
    return added->key_length == undo->now.key_length && memcmp(sami_set_log_key(state->log, added), undo->now.key, added->key_length) == 0;
}

/* Another migration that runs has brought the same element: it is the one that made it from now on. */
static gboolean
pass_on(const State *state, const Target *target, const Undo *undo)
{
    for (guint s = 0; s < state->context->siblings->len; s++) {
        State *other = g_ptr_array_index(state->context->siblings, s);
        for (guint i = 0; other != state && i < sami_set_log_n(other->log); i++) {
            SamiAdded *added = sami_set_log_at(other->log, i);
            if (is_key_of(other, added, undo) &&
                g_str_equal(g_array_index(other->targets, Target, added->target).config->name, target->config->name)) {
                added->is_made = TRUE;
                return TRUE;
            }
        }
    }
    return FALSE;
}

/* What is left of the element without what was added. */
static void
take_back(const State *state, const Target *target, Undo *undo, gint64 at_ms)
{
    SamiSetElement *e = &undo->now;
    gboolean is_blacklist = g_str_equal(target->config->kind, "blacklist");
    gint64 end_ms = e->has & SAMI_SET_HAS_TIMEOUT ? at_ms + (gint64) e->remaining_ms : 0;
    if (e->packets >= undo->packets && e->octets >= undo->octets && e->quota_used >= undo->quota) { /* otherwise it is another element */
        e->packets -= undo->packets;
        e->octets -= undo->octets;
        e->quota_used -= undo->quota;
    }
    /* A rule here has given it another time since, or has made it anew: who is blacklisted here is not let out by an abort. */
    gboolean is_renewed = undo->new_end_ms && ABS(end_ms - undo->new_end_ms) > 2 * TOLERANCE_MS;
    if (undo->is_made && (is_blacklist ? !is_renewed : e->packets == 0 && e->octets == 0 && e->quota_used == 0))
        undo->is_going = !pass_on(state, target, undo);
    /* Prolonged by us, and by no packet since. */
    if (undo->is_made || !undo->old_end_ms || is_renewed)
        return;
    if (undo->old_end_ms <= at_ms)
        undo->is_going = TRUE;
    e->has |= SAMI_SET_HAS_TIMEOUT;
    e->remaining_ms = (guint64) MAX(undo->old_end_ms - at_ms, 1);
}

/* The last entries of the log, of one set; as much as fits. Returns how many of them; they are gathered by element. */
static guint
gather(State *state, guint8 target, Undo *undos, guint *ret_n)
{
    guint n = 0, taken = 0, n_logged = sami_set_log_n(state->log);
    while (taken < n_logged) {
        const SamiAdded *added = sami_set_log_at(state->log, n_logged - 1 - taken);
        guint i = 0;
        if (added->target != target)
            break;
        while (i < n && !is_key_of(state, added, &undos[i]))
            i++;
        if (i == SLICE)
            break;
        if (i == n) {
            undos[n] = (Undo){ .now.key_length = added->key_length, .new_end_ms = added->new_end_ms };
            memcpy(undos[n++].now.key, sami_set_log_key(state->log, added), added->key_length);
        }
        undos[i].is_made |= added->is_made;
        undos[i].packets += added->packets;
        undos[i].octets += added->octets;
        undos[i].quota += added->quota;
        undos[i].old_end_ms = added->old_end_ms ? added->old_end_ms : undos[i].old_end_ms;
        undos[i].new_end_ms = undos[i].new_end_ms ? undos[i].new_end_ms : added->new_end_ms;
        taken++;
    }
    *ret_n = n;
    return taken;
}

static void
return_shares(State *state, const Target *target, guint taken)
{
    SamiShare shares[SAMI_SHARES_A_KEY];
    guint n_logged = sami_set_log_n(state->log);
    for (guint i = n_logged - taken; i < n_logged; i++) {
        const SamiAdded *added = sami_set_log_at(state->log, i);
        const guint8 *key = sami_set_log_key(state->log, added);
        guint n = sami_shares_get(state->shares, target->config->name, key, added->key_length, shares);
        SamiShare share = share_of(shares, n, added->origin);
        if (share.packets == 0 && share.octets == 0 && share.quota == 0)
            continue;
        share.packets -= MIN(share.packets, added->packets);
        share.octets -= MIN(share.octets, added->octets);
        share.quota -= MIN(share.quota, added->quota);
        sami_shares_set(state->shares, target->config->name, key, added->key_length, &share);
    }
}

static void
write_undos(State *state, Target *target, Undo *undos, guint n, SamiKindCounts *counts)
{
    SamiSetWrite writes[SLICE];
    SamiSetElement elements[SLICE];
    gboolean found[SLICE];
    int result = EIO;
    for (guint try = 0; try < (n > 1 ? TRIES : TRIES_ALONE); try++) {
        gint64 at_ms = now_ms();
        guint n_writes = 0;
        for (guint i = 0; i < n; i++)
            elements[i] = undos[i].now;
        if (!sami_set_get(target->set, &target->info, elements, n, elements, found, NULL))
            break;
        for (guint i = 0; i < n; i++) {
            Undo undo = undos[i];
            undo.now = elements[i];
            if (!found[i] || (undo.now.has & SAMI_SET_HAS_OTHER))
                continue;
            take_back(state, target, &undo, at_ms);
            elements[i] = undo.now;
            writes[n_writes++] = (SamiSetWrite){ &elements[i], TRUE, undo.is_going };
        }
        result = n_writes > 0 ? sami_set_write(target->set, &target->info, writes, n_writes, &counts->n_lost) : 0;
        if (result == 0)
            counts->n_undone += n_writes;
        if (result != ENOENT && result != EEXIST)
            break;
    }
    if (result != 0 && n > 1) { /* one that cannot be written is gone, or not ours to change any more */
        write_undos(state, target, undos, n / 2, counts);
        write_undos(state, target, undos + n / 2, n - n / 2, counts);
    }
}

static void
undo_all(gpointer data, SamiKindCounts *counts)
{
    State *state = data;
    g_autofree Undo *undos = g_new(Undo, SLICE);
    for (guint n_logged; (n_logged = sami_set_log_n(state->log)) > 0;) {
        guint8 index = sami_set_log_at(state->log, n_logged - 1)->target;
        Target *target = &g_array_index(state->targets, Target, index);
        guint n, taken = gather(state, index, undos, &n);
        look(target);
        sami_shares_lock(state->shares);
        if (target->status == SAMI_SET_FINE)
            write_undos(state, target, undos, n, counts);
        return_shares(state, target, taken);
        sami_shares_unlock(state->shares);
        sami_set_log_forget(state->log, taken);
    }
}

const SamiSinkKind sami_sink_cumulative = { "cumulative", SAMI_KIND_CUMULATIVE, SAMI_RECORD_CUMULATIVE, sizeof(SamiCumulative),
                                            open_state, apply, undo_all, close_state };
