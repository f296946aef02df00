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
    g_autofree gchar *print = sami_pki_fingerprint(peer->certificate_pem, strlen(peer->certificate_pem), NULL);
    g_assert(print && sami_pki_certificate_names(peer->certificate_pem, strlen(peer->certificate_pem), peer->name, NULL));
    return 0;
}
