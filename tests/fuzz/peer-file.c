/* A peer file, which comes from another machine: what is taken prints to what parses to the same. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "transport/pki.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiPeerFile) peer = sami_peer_file_parse((const gchar *)data, size, &error);
    g_assert(!peer != !error && (!error || g_utf8_validate(error->message, -1, NULL)));
    if (!peer)
        return 0;
    g_autofree gchar *text = sami_peer_file_print(peer);
    g_autoptr(SamiPeerFile) again = sami_peer_file_parse(text, strlen(text), NULL);
    g_assert(again && g_strcmp0(again->name, peer->name) == 0 && g_strcmp0(again->address, peer->address) == 0);
    g_assert(g_strcmp0(again->certificate_pem, peer->certificate_pem) == 0);
    g_assert(g_strcmp0(again->signing_key_pem, peer->signing_key_pem) == 0);
    g_auto(GStrv) keys = sami_pki_fingerprints(peer->signing_key_pem, SAMI_PEM_PUBLIC_KEY, SAMI_PEER_FILE_BLOCKS_MAX, NULL);
    g_assert(keys && keys[0]);
    g_auto(GStrv) blocks = peer->certificate_pem ? sami_pki_split(peer->certificate_pem, SAMI_PEM_CERTIFICATE, SAMI_PEER_FILE_BLOCKS_MAX, NULL) : NULL;
    g_assert(!peer->certificate_pem == !blocks);
    for (guint i = 0; blocks && blocks[i]; i++)
        g_assert(sami_pki_certificate_names(blocks[i], strlen(blocks[i]), peer->name, NULL));
    return 0;
}
