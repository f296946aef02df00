/* What the fuzz targets share. Each target is one libFuzzer entry point at one trust boundary; replay.c calls it without libFuzzer. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "templates/codec.h"
#include "templates/signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input is Messages of one direction, one behind the other, with or without signature Sets. Each is signed anew as `role`, so
 * that mutation gets past the signature, and goes the way of a session's state process: verify, shim, decode. The Sequence Numbers
 * after the first Message are corrected too. Stops where a session would end. */
void sami_fuzz_stream(guint8 role, const uint8_t *data, size_t size, SamiRecordFunc func);

/* One Message of such an input without its signature Set, into `message` of SAMI_MESSAGE_MAX octets, which leaves room for another one; returns how much of
 * the input it was. Of an input of at least SAMI_MESSAGE_HEADER octets. */
gsize sami_fuzz_cut(const uint8_t *data, gsize size, guint8 *message, gsize *ret_length);

/* The key that seeds say hello with. It protects nothing. */
#define SAMI_FUZZ_PRIVATE_PEM \
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIFIvczZ1zOzIuw+5ECJRN9dSzbFJgW0UR3a6VknpH/2+\n-----END PRIVATE KEY-----\n"
#define SAMI_FUZZ_PUBLIC_PEM "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJ86Oe6htucZEscbHspi7w0ExQoP+l+wN9M/kFLZeNho=\n-----END PUBLIC KEY-----\n"
SamiKey *sami_fuzz_key(void);
/* Signs a Message of `length` octets with it, with the Sequence Number that a session expects there, so that mutation gets past both; `shim` has seen the
 * Messages before it, and *sequence is 0 at first. Returns the new length. */
gsize sami_fuzz_sign(const SamiSignature *fields, SamiShim *shim, guint32 *sequence, guint8 *message, gsize length);
/* Daemons tell of every session and every refusal: from here on to nobody. */
void sami_fuzz_be_quiet(void);

/* A record of TLS_AES_128_GCM_SHA256 around `inner`, number `count` of its key: 0 to 2 of the client, 3 to 5 of the server, each for the handshake,
 * for data, and for data behind a KeyUpdate; their secrets are octets of 0x10, 0x20, 0x11 and 0x21. `record` has room for SAMI_FUZZ_SEALED octets more than n.
 * Returns its length. */
#define SAMI_FUZZ_SEALED 21
gsize sami_fuzz_seal(guint key, guint8 count, const guint8 *inner, gsize n, guint8 *record);

/* Reads a capture to its end: what comes out keeps the promises of transport/input.h. */
void sami_fuzz_capture(const uint8_t *data, size_t size);
