/* This firewall's own keys, certificate and peer file: where they are, and what others get of them. */
#pragma once

#include "ctl/ctl.h"
#include "transport/pki.h"

typedef struct {
    gchar *name;
    gchar *conf;            /* sami.conf, which may not be there yet */
    gchar *certificate, *key, *request;
    gchar *signing_key, *signing_public; /* signing_key may be a URI */
    gchar *passphrase_file; /* (nullable) of both keys */
    gchar *peer_file;
} CtlOwn;

/* A file beside that is made while a key is replaced: signing.key and "next" are signing-next.key. (transfer full) */
gchar *ctl_own_beside(const gchar *path, const gchar *word);
/* What sami.conf says, or its defaults where there is none; --name and --encrypt must not contradict it. Without either name: SAMI_ERROR_USAGE. */
gboolean ctl_own_init(CtlOwn *own, Ctl *ctl, GError **error);
void ctl_own_clear(CtlOwn *own);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CtlOwn, ctl_own_clear)

/* SAMI_ERROR_CONFIG where there is no sami.conf. */
gboolean ctl_need_config(Ctl *ctl, GError **error);
/* The peer file as our files make it: keys and certificates that are in use, announced, or not quite gone. A certificate of a CA is not in it. (transfer full) */
SamiPeerFile *ctl_own_peer(const CtlOwn *own, Ctl *ctl, GError **error);
/* Writes NAME.peer where that would change it. */
gboolean ctl_own_write_peer(const CtlOwn *own, Ctl *ctl, gboolean *ret_is_new, GError **error);

/* What a peer file vouches for, as fingerprints. */
typedef struct {
    GStrv certificates; /* NULL: a CA vouches */
    GStrv keys;
    gchar *all;
} CtlPrints;
gboolean ctl_prints_init(CtlPrints *prints, const gchar *name, const gchar *certificates_pem, const gchar *keys_pem, guint max, GError **error);
void ctl_prints_clear(CtlPrints *prints);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CtlPrints, ctl_prints_clear)
/* NAME (nullable) at ADDRESS, and the fingerprints, for two people who compare them. */
void ctl_prints_say(const CtlPrints *prints, const gchar *name, const gchar *address);
/* All of a file, at most a megabyte; "-" is standard input. */
gboolean ctl_read(const gchar *path, gchar **ret_text, gsize *ret_length, GError **error);
