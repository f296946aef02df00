/* A byte cursor with a sticky error: read or write big-endian integers and octets within bounds, check once at the end. After the first
 * overstep every read gives 0 and every write does nothing, and `is_bad` stays TRUE. */
#pragma once

#include <string.h>

#include <glib.h>

typedef struct {
    const guint8 *at;
    const guint8 *end;
    gboolean is_bad;
} SamiReader;

typedef struct {
    guint8 *start;
    guint8 *at;
    guint8 *end;
    gboolean is_bad;
} SamiWriter;

static inline void
sami_reader_init(SamiReader *r, const guint8 *data, gsize length)
{
    *r = (SamiReader){ data, length ? data + length : data, FALSE }; /* nothing may be at NULL */
}

static inline gsize
sami_reader_left(const SamiReader *r)
{
    return (gsize) (r->end - r->at);
}

/* Borrows n octets, or NULL. */
static inline const guint8 *
sami_reader_take(SamiReader *r, gsize n)
{
    if (r->is_bad || sami_reader_left(r) < n) {
        r->is_bad = TRUE;
        return NULL;
    }
    r->at += n;
    return r->at - n;
}

static inline guint64
sami_reader_uint(SamiReader *r, guint n_octets)
{
    const guint8 *p = sami_reader_take(r, n_octets);
    guint64 value = 0;
    for (guint i = 0; p && i < n_octets; i++)
        value = value << 8 | p[i];
    return value;
}

static inline void
sami_writer_init(SamiWriter *w, guint8 *data, gsize size)
{
    *w = (SamiWriter){ data, data, data + size, FALSE };
}

static inline gsize
sami_writer_length(const SamiWriter *w)
{
    return (gsize) (w->at - w->start);
}

static inline void
sami_writer_octets(SamiWriter *w, const void *octets, gsize n)
{
    if (n == 0)
        return;
    if (w->is_bad || (gsize) (w->end - w->at) < n) {
        w->is_bad = TRUE;
        return;
    }
    memcpy(w->at, octets, n);
    w->at += n;
}

static inline void
sami_writer_uint(SamiWriter *w, guint64 value, guint n_octets)
{
    guint8 octets[8];
    for (guint i = 0; i < n_octets; i++)
        octets[i] = (guint8) (value >> (8 * (n_octets - 1 - i)));
    sami_writer_octets(w, octets, n_octets);
}
