#include "tests/fuzz/fuzz.h"

#include <openssl/evp.h>
#include <string.h>

/* Key and IV (RFC 8446 §7.3) of the secrets 10…10 and 20…20 of the client and 11…11 and 21…21 of the server, and of what a KeyUpdate
 * makes of 20…20 and 21…21. */
static const struct {
    const gchar *key, *iv;
} keys[6] = {
    { "\xfa\x7c\x7c\xf6\x7e\xc1\x15\xc8\x0c\xdc\xc8\x2a\x9a\xe1\x7a\xce", "\x7b\x18\x49\xb5\xa1\xb8\x13\x8e\x7a\xa0\x97\xe3" },
    { "\xb1\x3e\xa1\x4c\x90\x92\xc2\x39\xb7\x59\x5a\x37\x2a\x70\x20\x73", "\xe9\xf1\x02\xeb\x41\x49\x7e\x5d\x11\xdd\x43\xe7" },
    { "\xaa\x33\x6c\xd1\x1b\x7f\x3b\x70\x27\xc7\x97\x58\x33\xdd\x49\x7a", "\x52\x30\x99\x5a\x91\x45\xbc\x38\x2b\xa9\xb6\x84" },
    { "\x81\x4d\x34\xc0\x50\xe0\xe0\x02\x0f\x9a\x4d\x91\x48\x95\x78\xff", "\xa8\xd2\x2d\xeb\x12\x27\x8a\xf9\x1d\x0c\xf7\x96" },
    { "\x5d\x74\x37\xcb\x9a\xdb\x9d\xc3\x1e\x39\x61\x11\x3b\x79\x96\x64", "\xb0\x8d\x32\x17\xd4\xac\x28\xf8\x10\x6f\x3a\x7c" },
    { "\x7f\x9a\x67\xb0\x01\xaf\x36\x4f\xfa\xdd\xca\x8f\x75\x6c\x9b\x0c", "\xba\x0c\x1d\xae\xcd\x27\x0f\xfe\x49\x0c\x6d\xc1" },
};

gsize
sami_fuzz_seal(guint key, guint8 count, const guint8 *inner, gsize n, guint8 *record)
{
    static EVP_CIPHER_CTX *context;
    guint8 nonce[12];
    int length;
    context = context ? context : EVP_CIPHER_CTX_new();
    memcpy(nonce, keys[key].iv, sizeof nonce);
    nonce[11] ^= count;
    memcpy(record, (guint8[]){ 23, 3, 3, (guint8) ((n + 16) >> 8), (guint8) (n + 16) }, 5);
    EVP_EncryptInit_ex(context, EVP_aes_128_gcm(), NULL, (const guint8 *) keys[key].key, nonce);
    EVP_EncryptUpdate(context, NULL, &length, record, 5);
    EVP_EncryptUpdate(context, record + 5, &length, inner, (int) n);
    EVP_EncryptFinal_ex(context, record + 5 + length, &length);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, record + 5 + n);
    return n + 21;
}
