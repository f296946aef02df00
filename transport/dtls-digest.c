/* libusrsctp's SHA-1 by OpenSSL's, which uses the instructions that processors have for it: the library's own was more than half of the CPU time
 * of a network process. Its functions are exported and called through its PLT (0.9.5), so that these, in the program, stand before them; if another
 * version does not, it takes its own. Built with OpenSSL's, it has none.
 *
 * The context is the library's, of 436 octets there; whatever it becomes, the state of a SHA-1 (FIPS 180-4 §6.1), with its block and length, is no less
 * than what is put there. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <glib.h>
#include <openssl/sha.h>
#include <string.h>

#include "transport/sctp-backend.h"

void sctp_sha1_init(void *context);
void sctp_sha1_update(void *context, const unsigned char *octets, unsigned int n);
void sctp_sha1_final(unsigned char *digest, void *context);

G_STATIC_ASSERT(sizeof(SHA_CTX) <= 20 + 8 + 64 + 4);

void
sctp_sha1_init(void *context)
{
    SHA_CTX sha;
    SHA1_Init(&sha);
    memcpy(context, &sha, sizeof(sha));
}

void
sctp_sha1_update(void *context, const unsigned char *octets, unsigned int n)
{
    SHA1_Update(context, octets, n);
}

void
sctp_sha1_final(unsigned char *digest, void *context)
{
    SHA1_Final(digest, context);
}

void
sami_sctp_sha1_use(void)
{
}
