/* A mutator that knows what a Message is: it repairs lengths after libFuzzer's own mutation, and repeats, drops or changes whole
 * Sets. Only linked with libFuzzer. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

static guint
u16(const guint8 *p)
{
    return (guint)p[0] << 8 | p[1];
}

static void
set_u16(guint8 *p, gsize value)
{
    p[0] = (guint8)(value >> 8);
    p[1] = (guint8)value;
}

/* Changes one Set of the Message [at, at + length), which has `room`; returns its new length. */
static gsize
change_set(guint8 *at, gsize length, gsize room, unsigned int seed)
{
    gsize start = SAMI_MESSAGE_HEADER;
    while (seed % 4 != 0 && start + 4 <= length && u16(at + start + 2) >= 4 && start + u16(at + start + 2) + 4u <= length) {
        start += u16(at + start + 2);
        seed /= 4;
    }
    gsize size = start + 4 <= length ? MIN(MAX(u16(at + start + 2), 4u), length - start) : 0;
    gsize behind = length - start - size;
    if (size == 0)
        return length;
    if (seed % 3 == 0 && length + size <= room) { /* twice */
        memmove(at + start + size, at + start, length - start);
        return length + size;
    }
    if (seed % 3 == 1) { /* gone */
        memmove(at + start, at + start + size, behind);
        return length - size;
    }
    g_autofree guint8 *body = g_malloc(size + 64);
    memcpy(body, at + start + 4, size - 4);
    gsize now = LLVMFuzzerMutate(body, size - 4, MIN(size + 64, room - length + size - 4));
    memmove(at + start + 4 + now, at + start + size, behind);
    memcpy(at + start + 4, body, now);
    set_u16(at + start + 2, now + 4);
    return start + 4 + now + behind;
}

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    gsize at = 0;
    if (seed % 4 == 0 || size < SAMI_MESSAGE_HEADER)
        return LLVMFuzzerMutate(data, size, max_size);
    seed /= 4;
    while (seed % 2 && at + SAMI_MESSAGE_HEADER < size && u16(data + at + 2) >= SAMI_MESSAGE_HEADER &&
           at + u16(data + at + 2) + SAMI_MESSAGE_HEADER <= size) {
        at += u16(data + at + 2);
        seed /= 2;
    }
    gsize length = MIN(MAX(u16(data + at + 2), SAMI_MESSAGE_HEADER), size - at);
    g_autofree guint8 *rest = g_memdup2(data + at + length, size - at - length);
    gsize n_rest = size - at - length, room = MIN(max_size - at - n_rest, (gsize)SAMI_MESSAGE_MAX);
    length = change_set(data + at, length, MAX(room, length), seed / 2);
    set_u16(data + at, 10);
    set_u16(data + at + 2, length);
    if (n_rest > 0)
        memcpy(data + at + length, rest, n_rest);
    return at + length + n_rest;
}
