/* `key list` and `key rotate`: our own keys, and how one takes the place of another without a gap.
 *
 * A new key is made beside the one in use and announced in the peer file, which then has both. When the peers have it, the new one signs; sessions that run go
 * on with the one that they began with. The old one stays in the peer file until --finish. Each step can be run again. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "common/control-json.h"
#include "ctl/own.h"
#include "templates/private-key.h"
#include "templates/signature.h"

typedef struct {
    const gchar *kind;
    const gchar *type;          /* of its public PEM */
    const gchar *private, *public;
    gchar *next[2], *old[2];    /* private, public */
} Pair;

static void
pair_clear(Pair *pair)
{
    for (guint i = 0; i < 2; i++) {
        g_free(pair->next[i]);
        g_free(pair->old[i]);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pair, pair_clear)

static void
pair_init(Pair *pair, const CtlOwn *own, gboolean is_tls)
{
    *pair = is_tls ? (Pair){.kind = "tls", .type = SAMI_PEM_CERTIFICATE, .private = own->key, .public = own->certificate}
                   : (Pair){.kind = "signing", .type = SAMI_PEM_PUBLIC_KEY, .private = own->signing_key, .public = own->signing_public};
    const gchar *files[] = {pair->private, pair->public};
    for (guint i = 0; i < 2; i++) {
        pair->next[i] = ctl_own_beside(files[i], "next");
        pair->old[i] = ctl_own_beside(files[i], "old");
    }
}

static gboolean
exists(const gchar *path)
{
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static gboolean
fail_file(const gchar *what, const gchar *path, GError **error)
{
    int code = errno;
    g_set_error(error, SAMI_ERROR, code == EACCES || code == EPERM ? SAMI_ERROR_PERMISSION : SAMI_ERROR_FAILED, "cannot %s %s: %s", what, path, g_strerror(code));
    return FALSE;
}

static gboolean
refuse(GError **error, const gchar *file, const gchar *rule)
{
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s%s", file, rule);
    return FALSE;
}

/* ---- list ---- */

static gchar *
print_day(gint64 seconds)
{
    g_autoptr(GDateTime) day = g_date_time_new_from_unix_local(seconds);
    return day ? g_date_time_format(day, "%F %R") : g_strdup("?");
}

/* A key's public file is made with it and never changes; the time of the private one is set anew when it begins to be used. */
static gint64
time_of(const gchar *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? (gint64)status.st_mtim.tv_sec : 0;
}

static JsonObject *
describe(const Pair *pair, const gchar *state, const gchar *private, const gchar *public)
{
    g_autofree gchar *pem = NULL;
    if (!ctl_read(public, &pem, NULL, NULL))
        return NULL;
    JsonObject *object = json_object_new();
    g_autofree gchar *fingerprint = sami_pki_fingerprint(pem, strlen(pem), NULL);
    gboolean is_tls = !strcmp(pair->type, SAMI_PEM_CERTIFICATE), is_active = !strcmp(state, "active");
    gint64 expiry_s = 0, since_s = exists(private) ? time_of(private) : 0;
    gchar id[SAMI_KEY_ID_TEXT];
    json_object_set_string_member(object, "kind", pair->kind);
    json_object_set_string_member(object, "state", state);
    g_autoptr(SamiKey) key = is_tls ? NULL : sami_key_load_public(public, NULL);
    if (key)
        json_object_set_string_member(object, "id", sami_key_id_text(sami_key_id(key), id));
    json_object_set_string_member(object, "fingerprint", fingerprint ? fingerprint : "unreadable");
    json_object_set_string_member(object, "file", is_tls ? public : private);
    json_object_set_int_member(object, "created", time_of(public));
    if (is_active && since_s)
        json_object_set_int_member(object, "in_use_since", since_s);
    if (is_tls && sami_pki_certificate_expiry(pem, strlen(pem), &expiry_s, NULL))
        json_object_set_int_member(object, "expires", expiry_s);
    return object;
}

static void
print_key(JsonObject *key)
{
    g_autofree gchar *created = print_day(ctl_int(key, "created")), *since = print_day(ctl_int(key, "in_use_since")), *end = print_day(ctl_int(key, "expires"));
    ctl_say(stdout, "%-8s %-7s %s\n  file          %s\n  fingerprint   %s\n  created       %s\n", ctl_string(key, "kind"), ctl_string(key, "state"),
            json_object_has_member(key, "id") ? ctl_string(key, "id") : "", ctl_string(key, "file"), ctl_string(key, "fingerprint"), created);
    if (json_object_has_member(key, "in_use_since"))
        ctl_say(stdout, "  in use since  %s\n", since);
    if (json_object_has_member(key, "expires"))
        ctl_say(stdout, "  expires       %s\n", end);
}

SamiExit
ctl_key_list(Ctl *ctl, GError **error)
{
    g_auto(CtlOwn) own = {0};
    if (!ctl_need_config(ctl, error) || !ctl_own_init(&own, ctl, error))
        return SAMI_EXIT_FAILED;
    g_autoptr(JsonObject) answer = json_object_new();
    JsonArray *keys = json_array_new();
    for (guint is_tls = 0; is_tls < 2; is_tls++) {
        g_auto(Pair) pair = {0};
        pair_init(&pair, &own, is_tls);
        const gchar *const states[][3] = {{"active", pair.private, pair.public}, {"next", pair.next[0], pair.next[1]}, {"old", pair.old[0], pair.old[1]}};
        for (guint i = 0; i < G_N_ELEMENTS(states); i++) {
            JsonObject *object = describe(&pair, states[i][0], states[i][1], states[i][2]);
            if (object)
                json_array_add_object_element(keys, object);
        }
    }
    json_object_set_int_member(answer, "v", 1);
    json_object_set_string_member(answer, "host", own.name);
    json_object_set_array_member(answer, "keys", keys);
    if (ctl->args.is_json) {
        g_autofree gchar *text = sami_control_json_print(answer);
        ctl_say(stdout, "%s\n", text);
        return SAMI_EXIT_DONE;
    }
    for (guint i = 0; i < json_array_get_length(keys); i++)
        print_key(json_array_get_object_element(keys, i));
    return SAMI_EXIT_DONE;
}

/* ---- rotate ---- */

static gboolean
check_rotatable(const Pair *pair, GError **error)
{
    g_autofree gchar *pem = NULL;
    if (sami_private_key_is_uri(pair->private))
        return refuse(error, pair->private, ": this key is not a file; make the new one where it is, and let sami.conf name it");
    if (strcmp(pair->type, SAMI_PEM_CERTIFICATE) != 0 || !ctl_read(pair->public, &pem, NULL, NULL) || sami_pki_is_self_signed(pem))
        return TRUE;
    return refuse(error, pair->public, ": a CA vouches for it, and no peer has pinned it; renew it: samictl setup --certificate FILE");
}

/* Do the halves belong together? */
static gboolean
check_halves(const Pair *pair, const CtlOwn *own, const gchar *private, const gchar *public, GError **error)
{
    return !strcmp(pair->type, SAMI_PEM_CERTIFICATE) ? sami_pki_check_identity(own->name, public, private, own->passphrase_file, error)
                                                     : sami_pki_check_signing_key(private, public, own->passphrase_file, error);
}

/* The new public half, and the private one that becomes or has become ours. */
static gboolean
check_next(const Pair *pair, const CtlOwn *own, const gchar *private, GError **error)
{
    if (check_halves(pair, own, private, pair->next[1], error))
        return TRUE;
    gboolean has_both = exists(pair->next[0]);
    g_prefix_error(error, "the new key is of no use; remove %s%s%s for another one: ", has_both ? pair->next[0] : "", has_both ? " and " : "", pair->next[1]);
    return FALSE;
}

/* A run that was killed has left one half of a new pair: nobody can have been told of it, or nobody can use it. Without its private half, and with an old
 * pair there, it is the rest of an --activate, which goes on. */
static gboolean
remove_half(const Pair *pair, GError **error)
{
    gboolean has_private = exists(pair->next[0]), has_public = exists(pair->next[1]);
    if (has_private == has_public || (has_public && exists(pair->old[0])))
        return TRUE;
    const gchar *half = pair->next[has_private ? 0 : 1];
    return g_unlink(half) == 0 ? TRUE : fail_file("remove", half, error);
}

static gboolean
announce(const Pair *pair, const CtlOwn *own, gboolean *ret_is_new, GError **error)
{
    if (!remove_half(pair, error))
        return FALSE;
    if (exists(pair->old[0]) || exists(pair->old[1]))
        return refuse(error, pair->old[exists(pair->old[0]) ? 0 : 1], exists(pair->next[1]) ? " is there: the last rotation is not over; first: samictl key rotate --activate"
                                                                                          : " is there: the last rotation is not over; first: samictl key rotate --finish");
    *ret_is_new = !exists(pair->next[0]);
    if (!*ret_is_new)
        return check_next(pair, own, pair->next[0], error);
    return !strcmp(pair->type, SAMI_PEM_CERTIFICATE)
               ? sami_pki_make_identity(own->name, pair->next[1], pair->next[0], own->passphrase_file, error)
               : sami_pki_make_signing_key(pair->next[0], pair->next[1], own->passphrase_file, error);
}

/* Both names before the first half is replaced: what cannot be kept is not replaced. What an earlier run has kept is left. */
static gboolean
keep_old(const Pair *pair, GError **error)
{
    const gchar *const files[] = {pair->private, pair->public};
    gboolean is_new[2] = {FALSE, FALSE};
    for (guint i = 0; i < 2; i++) {
        is_new[i] = !exists(pair->old[i]);
        if (!is_new[i] || link(files[i], pair->old[i]) == 0)
            continue;
        fail_file("keep the old key as", pair->old[i], error);
        if (is_new[0] && i > 0)
            g_unlink(pair->old[0]);
        return FALSE;
    }
    return TRUE;
}

/* At no moment is there no key. */
static gboolean
activate(const Pair *pair, const CtlOwn *own, gboolean *ret_is_new, GError **error)
{
    gboolean has_private = exists(pair->next[0]), has_public = exists(pair->next[1]);
    gboolean is_begun = !has_private && has_public && exists(pair->old[0]); /* an earlier run has ended between the two */
    *ret_is_new = has_private || has_public;
    if (!*ret_is_new && !exists(pair->old[1]))
        return refuse(error, pair->next[0], ": there is no new key; first: samictl key rotate");
    if (!*ret_is_new)
        return TRUE;
    if (!is_begun && !(has_private && has_public))
        return refuse(error, pair->next[has_private ? 0 : 1], ": half of a key, of a run that did not end; samictl key rotate takes it away, and makes a new one");
    if (!check_next(pair, own, is_begun ? pair->private : pair->next[0], error) || !keep_old(pair, error))
        return FALSE;
    if (!is_begun && g_rename(pair->next[0], pair->private) != 0)
        return fail_file("replace", pair->private, error);
    if (g_rename(pair->next[1], pair->public) != 0)
        return fail_file("replace", pair->public, error);
    utimensat(AT_FDCWD, pair->private, NULL, 0); /* for `key list` only */
    return TRUE;
}

/* The old pair may be the only one that is whole, and that peers know. */
static gboolean
check_current(const Pair *pair, const CtlOwn *own, GError **error)
{
    g_autoptr(GError) local = NULL;
    if (check_halves(pair, own, pair->private, pair->public, &local))
        return TRUE;
    g_autofree gchar *too = exists(pair->old[1]) ? g_strdup_printf(" && mv %s %s", pair->old[1], pair->public) : g_strdup("");
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "the old key stays: %s; back to it: mv %s %s%s", local->message, pair->old[0], pair->private, too);
    return FALSE;
}

/* The private half goes; the public half of a signing key stays under its id, for whoever verifies old journals. */
static gboolean
finish(const Pair *pair, const CtlOwn *own, gboolean *ret_is_new, GError **error)
{
    gchar id[SAMI_KEY_ID_TEXT];
    *ret_is_new = exists(pair->old[0]) || exists(pair->old[1]);
    if (exists(pair->next[0]) || exists(pair->next[1]))
        return refuse(error, pair->next[exists(pair->next[0]) ? 0 : 1], " is not in use yet; first: samictl key rotate --activate");
    if (*ret_is_new && !check_current(pair, own, error))
        return FALSE;
    if (exists(pair->old[0]) && g_unlink(pair->old[0]) != 0)
        return fail_file("remove", pair->old[0], error);
    if (!exists(pair->old[1]))
        return TRUE;
    g_autoptr(SamiKey) key = strcmp(pair->type, SAMI_PEM_CERTIFICATE) != 0 ? sami_key_load_public(pair->old[1], NULL) : NULL;
    if (!key)
        return g_unlink(pair->old[1]) == 0 ? TRUE : fail_file("remove", pair->old[1], error);
    g_autofree gchar *kept = ctl_own_beside(own->signing_public, sami_key_id_text(sami_key_id(key), id));
    return g_rename(pair->old[1], kept) == 0 ? TRUE : fail_file("rename", pair->old[1], error);
}

static void
print_next(const Ctl *ctl, const CtlOwn *own, const gchar *what, gboolean is_new)
{
    const gchar *tls = ctl->args.is_tls ? " --tls" : "";
    ctl_say(stdout, "%s%s\n", is_new ? "" : "unchanged: ", what);
    if (!ctl->args.is_activate)
        ctl_say(stdout, "next: on each peer: samictl peer update ssh://root@%s    (or with %s)\n", own->name, own->peer_file);
    if (!ctl->args.is_activate && !ctl->args.is_finish)
        ctl_say(stdout, "then: samictl key rotate%s --activate\n", tls);
    if (ctl->args.is_activate)
        ctl_say(stdout, "next, when the sessions that run have ended: samictl key rotate%s --finish\n", tls);
}

SamiExit
ctl_key_rotate(Ctl *ctl, GError **error)
{
    g_auto(CtlOwn) own = {0};
    g_auto(Pair) pair = {0};
    gboolean is_new = FALSE, is_peer_new = FALSE, running[CTL_N_ROLES];
    const CtlArgs *args = &ctl->args;
    if (args->is_activate && args->is_finish) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "--activate and --finish are two steps, with time between them");
        return SAMI_EXIT_USAGE;
    }
    if (!ctl_need_config(ctl, error) || !ctl_own_init(&own, ctl, error))
        return SAMI_EXIT_FAILED;
    pair_init(&pair, &own, args->is_tls);
    if (!check_rotatable(&pair, error) ||
        !(args->is_activate ? activate(&pair, &own, &is_new, error) : args->is_finish ? finish(&pair, &own, &is_new, error) : announce(&pair, &own, &is_new, error)) ||
        !ctl_own_write_peer(&own, ctl, &is_peer_new, error) || (args->is_activate && !ctl_reload(ctl, running, error)))
        return SAMI_EXIT_FAILED;
    if (!args->is_quiet)
        print_next(ctl, &own,
                   args->is_activate ? "the new key is in use from now on; sessions that run keep the old one"
                   : args->is_finish ? "the old key is gone"
                                     : "there is a new key, not in use yet, and the peer file has it", is_new || is_peer_new);
    return SAMI_EXIT_DONE;
}
