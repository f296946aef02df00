/* What every signer's policy has of this host: its own addresses, kept current; the timeouts of its kernel and whether that translates, as of the last begin
 * or dump. */
#include <unistd.h>

#include "collector/collector.h"
#include "firewall/host.h"
#include "firewall/ruleset.h"

static gboolean
read_addresses(SamiCollector *collector, GError **error)
{
    g_autoptr(GArray) addresses = sami_host_addresses(error);
    if (!addresses)
        return FALSE;
    sami_address_set_replace(collector->host.own, (const SamiPrefix *) (const void *) addresses->data, addresses->len);
    return TRUE;
}

/* Bursts come as one: what has queued is drained before the addresses are read. Those of before stay where they cannot be. */
static gboolean
on_change(GIOCondition condition, gpointer user_data)
{
    SamiCollector *collector = user_data;
    g_autoptr(GError) error = NULL;
    gboolean is_alive = sami_host_watch_drain(collector->host_fd);
    if (!read_addresses(collector, &error))
        g_warning("own addresses are not known any more as they are now: %s", error->message);
    if (is_alive)
        return G_SOURCE_CONTINUE;
    g_critical("changes of the interfaces' addresses are not told any more; restart the collector");
    return G_SOURCE_REMOVE;
}

gboolean
sami_collector_host_open(SamiCollector *collector, GError **error)
{
    collector->host.own = sami_address_set_new();
    collector->host_fd = sami_host_watch(error); /* before they are read: nothing is missed */
    if (collector->host_fd < 0 || !read_addresses(collector, error))
        return FALSE;
    collector->host_source = sami_fd_source_new(collector->host_fd, G_IO_IN, on_change, collector, NULL);
    sami_collector_host_refresh(collector);
    return TRUE;
}

void
sami_collector_host_refresh(SamiCollector *collector)
{
    g_autoptr(GError) error = NULL;
    SamiTranslations *translations = &collector->host.translations;
    sami_host_timeouts(&collector->host.timeouts);
    if (collector->config->nat_elsewhere) {
        translations->is_known = FALSE;
    } else if (!sami_ruleset_translations(translations, &error)) { /* what was known last holds; at first that nothing translates */
        translations->is_known = TRUE;
        g_warning("whether this host translates is not known as it is now: %s", error->message);
    }
    collector->host_us = g_get_monotonic_time();
}

void
sami_collector_host_close(SamiCollector *collector)
{
    if (collector->host_source) {
        g_source_destroy(collector->host_source);
        g_source_unref(collector->host_source);
    }
    if (collector->host_fd >= 0)
        close(collector->host_fd);
    sami_address_set_free(collector->host.own);
}
