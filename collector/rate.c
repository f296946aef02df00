#include "collector/rate.h"

struct SamiRate {
    guint64 per_second;
    gint64 free_at_us; /* when what was taken would have come at that rate; not further back than the bucket is deep */
    guint64 n_waits, waited_us;
};

#define DEPTH_US G_USEC_PER_SEC

SamiRate *
sami_rate_new(void)
{
    return g_rc_box_new0(SamiRate);
}

SamiRate *
sami_rate_ref(SamiRate *rate)
{
    return g_rc_box_acquire(rate);
}

void
sami_rate_unref(SamiRate *rate)
{
    if (rate)
        g_rc_box_release(rate);
}

void
sami_rate_set(SamiRate *rate, guint64 per_second)
{
    rate->per_second = per_second;
    if (per_second == 0)
        rate->free_at_us = 0;
}

void
sami_rate_take(SamiRate *rate, guint n, gint64 now_us)
{
    if (rate->per_second == 0)
        return;
    rate->free_at_us = MAX(rate->free_at_us, now_us - DEPTH_US) + (gint64) ((guint64) n * G_USEC_PER_SEC / rate->per_second);
}

gint64
sami_rate_wait_us(const SamiRate *rate, gint64 now_us)
{
    return rate->per_second > 0 && rate->free_at_us > now_us ? rate->free_at_us - now_us : 0;
}

void
sami_rate_count_wait(SamiRate *rate, gint64 waited_us)
{
    rate->n_waits++;
    rate->waited_us += (guint64) MAX(waited_us, 0);
}

guint64
sami_rate_n_waits(const SamiRate *rate)
{
    return rate->n_waits;
}

guint64
sami_rate_waited_ms(const SamiRate *rate)
{
    return rate->waited_us / 1000;
}
