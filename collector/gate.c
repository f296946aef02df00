/* The nft gate of migrations (OPERATIONS §3): packets of the VM wait from the freeze until READY.
 *
 * What blocks before READY, and what does not: the freeze marker is the first thing that the collector hears of a pause, and it
 * comes when the pause is over for the exporter: after its barrier and after the changes. Closing at the marker therefore covers the
 * time from the marker to READY, which is when this table is behind; it does not cover a path that switches before the marker has
 * come. For that there are `gate-from = snapshot`, which covers everything but cuts a VM that is reached through this firewall while
 * it still runs at the source, and the explicit `samictl gate`, for whoever here knows of the pause earlier than the source says so. */
#include "collector/collector.h"
#include "firewall/gate.h"

gboolean
sami_collector_gate_setup(SamiCollector *collector, GError **error)
{
    const SamiConfig *config = collector->config;
    g_autoptr(GError) missing = NULL;
    if (!g_str_equal(config->gate, "nft"))
        return TRUE;
    collector->gate = sami_gate_new(config->gate_set, error);
    if (!collector->gate) {
        g_prefix_error(error, "%s: gate-set: ", config->path);
        return FALSE;
    }
    /* The ruleset may be loaded after us. */
    if (!sami_gate_check(collector->gate, &missing))
        g_warning("%s; until then the gate stays open", missing->message);
    return TRUE;
}

static gboolean
close_for(SamiCollectorMigration *m, guint timeout_ms)
{
    SamiCollector *collector = m->collector;
    g_autoptr(GError) error = NULL;
    gboolean was_closed = sami_collector_gate_left_ms(m) > 0;
    gboolean is_closed = sami_gate_close(collector->gate, (const SamiPrefix *) (const void *) m->vm->data, m->vm->len,
                                         timeout_ms, &error);
    /* Also after a failure: some of the addresses may be held. */
    m->gate_until_us = g_get_monotonic_time() + (gint64) timeout_ms * 1000;
    if (is_closed) {
        collector->n_gates_closed += !was_closed;
        g_debug("%.8s: gate closed for %u ms", m->hex, timeout_ms);
    } else {
        collector->n_gate_failures++;
        g_warning("%.8s: packets of the VM are not held back: %s", m->hex, error->message);
    }
    return is_closed;
}

gboolean
sami_collector_gate_close(SamiCollectorMigration *m, guint timeout_ms, GError **error)
{
    if (!m->collector->gate) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "no gate: set gate=nft and gate-set in %s", m->collector->config->path);
        return FALSE;
    }
    if (close_for(m, timeout_ms))
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_KERNEL, "not all addresses of %.8s are held back; see the log of the collector", m->hex);
    return FALSE;
}

static gboolean
shares_address(const SamiCollectorMigration *a, const SamiCollectorMigration *b)
{
    for (guint i = 0; i < a->vm->len; i++)
        for (guint k = 0; k < b->vm->len; k++) {
            const SamiPrefix *one = &g_array_index(a->vm, SamiPrefix, i), *other = &g_array_index(b->vm, SamiPrefix, k);
            if (sami_prefix_covers(one, other) || sami_prefix_covers(other, one))
                return TRUE;
        }
    return FALSE;
}

/* Another migration of the same VM, perhaps of another signer, may still need it: the set has one element for both. */
static void
close_again(const SamiCollectorMigration *m)
{
    for (guint i = 0; i < m->collector->migrations->len; i++) {
        SamiCollectorMigration *other = g_ptr_array_index(m->collector->migrations, i);
        gint64 left_ms = sami_collector_gate_left_ms(other);
        if (other != m && left_ms > 0 && shares_address(m, other))
            close_for(other, (guint) left_ms);
    }
}

void
sami_collector_gate_open(SamiCollectorMigration *m)
{
    g_autoptr(GError) error = NULL;
    gboolean was_closed = m->gate_until_us != 0;
    m->gate_until_us = 0;
    if (was_closed && m->collector->gate &&
        !sami_gate_open(m->collector->gate, (const SamiPrefix *) (const void *) m->vm->data, m->vm->len, &error)) {
        m->collector->n_gate_failures++;
        g_warning("%.8s: packets of the VM are held back until the element's timeout: %s", m->hex, error->message);
    }
    if (was_closed && m->collector->gate)
        close_again(m);
}

void
sami_collector_gate_follow(SamiCollectorMigration *m)
{
    const SamiConfig *config = m->collector->config;
    if (m->collector->gate && !m->replication && m->phase < SAMI_PHASE_FREEZE && g_str_equal(config->gate_from, "snapshot"))
        close_for(m, m->lease_s * 1000); /* renewed with the entries */
}

void
sami_collector_gate_freeze(SamiCollectorMigration *m)
{
    if (m->collector->gate)
        close_for(m, m->collector->config->deadline_ms);
}

gint64
sami_collector_gate_left_ms(const SamiCollectorMigration *m)
{
    return m->gate_until_us ? MAX(m->gate_until_us - g_get_monotonic_time(), 0) / 1000 : 0;
}
