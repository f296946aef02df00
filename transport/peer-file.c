#include <string.h>

#include "common/value.h"
#include "config.h"
#include "transport/pki.h"

#define GROUP "sami-peer"
/* Two certificates, two keys, some addresses and three short values; whoever sends more means something else. */
#define PEER_FILE_MAX (64u * 1024u)

typedef struct {
    const gchar *key;
    gboolean is_required;
} Key;

static const Key keys[] = {
    { "version", TRUE }, { "name", TRUE },        { "address", FALSE },
    { "pen", TRUE },     { "certificate", FALSE }, { "signing-key", TRUE },
};

static gboolean
refuse(GError **error, const gchar *rule, const gchar *what)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "peer file: %s%s%s", what ? what : "",
                what ? ": " : "", rule);
    return FALSE;
}

static const Key *
find_key(const gchar *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
        if (!strcmp(keys[i].key, name))
            return &keys[i];
    return NULL;
}

/* Exactly one group, no key that is not ours, none missing: what an operator trusts must be all
 * that he trusts. */
static gboolean
check_keys(GKeyFile *file, GError **error)
{
    gsize n_groups;
    g_auto(GStrv) groups = g_key_file_get_groups(file, &n_groups);
    if (n_groups != 1 || strcmp(groups[0], GROUP) != 0)
        return refuse(error, "it must have the group [" GROUP "] and no other", NULL);
    g_auto(GStrv) present = g_key_file_get_keys(file, GROUP, NULL, NULL);
    for (guint i = 0; present && present[i]; i++)
        if (!find_key(present[i])) {
            g_autofree gchar *escaped = g_strescape(present[i], NULL);
            return refuse(error, "this key is not known", escaped);
        }
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
        if (keys[i].is_required && !g_key_file_has_key(file, GROUP, keys[i].key, NULL))
            return refuse(error, "this key is missing", keys[i].key);
    return TRUE;
}

static gboolean
check_numbers(GKeyFile *file, GError **error)
{
    g_autofree gchar *version = g_key_file_get_value(file, GROUP, "version", NULL);
    g_autofree gchar *pen = g_key_file_get_value(file, GROUP, "pen", NULL);
    guint64 number;
    if (strcmp(version, "1") != 0)
        return refuse(error, "only version 1 is known", "version");
    if (!sami_value_uint(pen, 1, G_MAXUINT32, &number, NULL))
        return refuse(error, "not an enterprise number", "pen");
    if (number == SAMI_PEN)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED,
                "peer file: pen: the peer was built with enterprise number %" G_GUINT64_FORMAT
                ", this program with %u; "
                "both need the same ./configure --with-pen",
                number, SAMI_PEN);
    return FALSE;
}

/* Blocks of one type; what was around them is left out: all that is carried along is under the fingerprint that somebody compared. */
static gboolean
take_pem(gchar **text, const gchar *type, const gchar *key, GError **error)
{
    g_autoptr(GError) local = NULL;
    const gchar *pem = *text;
    if (strstr(pem, "PRIVATE KEY"))
        return refuse(error, "this is a private key, which must never leave its host", key);
    g_auto(GStrv) fingerprints = sami_pki_fingerprints(pem, type, SAMI_PEER_FILE_BLOCKS_MAX, &local);
    if (!fingerprints)
        return refuse(error, local->message, key);
    if (fingerprints[1] && !strcmp(fingerprints[0], fingerprints[1]))
        return refuse(error, "is there twice", key);
    g_auto(GStrv) blocks = sami_pki_split(pem, type, SAMI_PEER_FILE_BLOCKS_MAX, NULL);
    g_free(*text);
    *text = g_strjoinv("", blocks);
    return TRUE;
}

static gboolean
check_names(const SamiPeerFile *peer, GError **error)
{
    g_auto(GStrv) blocks = sami_pki_split(peer->certificate_pem, SAMI_PEM_CERTIFICATE, SAMI_PEER_FILE_BLOCKS_MAX, error);
    for (guint i = 0; blocks && blocks[i]; i++)
        if (!sami_pki_certificate_names(blocks[i], strlen(blocks[i]), peer->name, error))
            g_clear_pointer(&blocks, g_strfreev);
    if (!blocks)
        g_prefix_error(error, "peer file: certificate: ");
    return blocks != NULL;
}

static gboolean
check_values(SamiPeerFile *peer, GError **error)
{
    g_auto(GStrv) addresses = NULL;
    if (!sami_value_name(peer->name, error) ||
        (peer->address && !(addresses = sami_value_endpoints(peer->address, error)))) {
        g_prefix_error(error, "peer file: ");
        return FALSE;
    }
    return take_pem(&peer->signing_key_pem, SAMI_PEM_PUBLIC_KEY, "signing-key", error) &&
           (!peer->certificate_pem ||
            (take_pem(&peer->certificate_pem, SAMI_PEM_CERTIFICATE, "certificate", error) && check_names(peer, error)));
}

SamiPeerFile *
sami_peer_file_parse(const gchar *text, gsize length, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(SamiPeerFile) peer = g_new0(SamiPeerFile, 1);
    g_autoptr(GError) local = NULL;
    /* GKeyFile quotes what it does not understand, as it is. */
    if (length > PEER_FILE_MAX || !g_utf8_validate_len(text, length, NULL)) {
        refuse(error, length > PEER_FILE_MAX ? "longer than 65536 octets" : "not a text in UTF-8", NULL);
        return NULL;
    }
    if (length == 0 || !g_key_file_load_from_data(file, text, length, G_KEY_FILE_NONE, &local)) {
        refuse(error, local ? local->message : "it is empty", NULL);
        return NULL;
    }
    if (!check_keys(file, error) || !check_numbers(file, error))
        return NULL;
    struct {
        const gchar *key;
        gchar **value;
    } const fields[] = { { "name", &peer->name },
                         { "address", &peer->address },
                         { "certificate", &peer->certificate_pem },
                         { "signing-key", &peer->signing_key_pem } };
    for (guint i = 0; i < G_N_ELEMENTS(fields); i++) {
        g_autoptr(GError) bad = NULL; /* of an escape that there is not GLib gives a value, too */
        *fields[i].value = g_key_file_get_string(file, GROUP, fields[i].key, &bad);
        if (bad && !g_error_matches(bad, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_KEY_NOT_FOUND)) {
            refuse(error, "an escape that there is not", fields[i].key);
            return NULL;
        }
    }
    return check_values(peer, error) ? g_steal_pointer(&peer) : NULL;
}

gchar *
sami_peer_file_print(const SamiPeerFile *peer)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_key_file_set_integer(file, GROUP, "version", 1);
    g_key_file_set_string(file, GROUP, "name", peer->name);
    if (peer->address)
        g_key_file_set_string(file, GROUP, "address", peer->address);
    g_key_file_set_uint64(file, GROUP, "pen", SAMI_PEN);
    if (peer->certificate_pem)
        g_key_file_set_string(file, GROUP, "certificate", peer->certificate_pem);
    g_key_file_set_string(file, GROUP, "signing-key", peer->signing_key_pem);
    return g_key_file_to_data(file, NULL, NULL);
}

void
sami_peer_file_free(SamiPeerFile *peer)
{
    if (!peer)
        return;
    g_free(peer->name);
    g_free(peer->address);
    g_free(peer->certificate_pem);
    g_free(peer->signing_key_pem);
    g_free(peer);
}
