#include "tests/unit/transport-lab.h"

#include <sys/stat.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static gchar *dir;
gboolean lab_is_sctp;
SamiSctpConfig lab_sctp = { .backend = SAMI_SCTP_USERLAND };

const gchar *lab_host = "127.0.0.1";
guint lab_connect_timeout_s = LAB_ANSWER_S;
SamiNetworkLimits lab_limits;
gsize lab_message_limit;

gsize
lab_message_max(void)
{
    return lab_message_limit ? lab_message_limit : lab_is_sctp ? SAMI_MESSAGE_MAX_SCTP : SAMI_MESSAGE_MAX;
}

gboolean
lab_open(void)
{
    dir = g_dir_make_tmp("sami-lab-XXXXXX", NULL);
    return dir != NULL;
}

void
lab_close(void)
{
    const gchar *entry;
    g_autoptr(GDir) open = g_dir_open(dir, 0, NULL);
    while ((entry = g_dir_read_name(open))) {
        g_autofree gchar *path = g_build_filename(dir, entry, NULL);
        g_unlink(path);
    }
    g_rmdir(dir);
    g_clear_pointer(&dir, g_free);
}

gchar *
lab_path(const gchar *stem, const gchar *suffix)
{
    return g_strdup_printf("%s/%s%s", dir, stem, suffix);
}

/* ---- certificates ---- */

static EVP_PKEY *
load_key(const gchar *stem)
{
    g_autofree gchar *path = lab_path(stem, ".key");
    BIO *bio = BIO_new_file(path, "r");
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return key;
}

static void
save(const gchar *stem, X509 *certificate, EVP_PKEY *key)
{
    g_autofree gchar *certificate_path = lab_path(stem, ".crt"), *key_path = lab_path(stem, ".key");
    BIO *bio = BIO_new_file(certificate_path, "w");
    PEM_write_bio_X509(bio, certificate);
    BIO_free(bio);
    mode_t mask = umask(077);
    bio = BIO_new_file(key_path, "w");
    umask(mask);
    PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    BIO_free(bio);
}

static void
add(X509 *certificate, int nid, const gchar *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

void
lab_issue(const gchar *stem, const gchar *name, const gchar *ca, int from_days, int to_days)
{
    static long serial = 1;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *ca_key = ca ? load_key(ca) : NULL;
    X509 *certificate = X509_new();
    X509_NAME *subject = X509_NAME_new(), *issuer = X509_NAME_new();
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const guchar *) stem, -1, -1, 0);
    X509_NAME_add_entry_by_txt(issuer, "CN", MBSTRING_ASC, (const guchar *) (ca ? ca : stem), -1,
                               -1, 0);
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_time_adj_ex(X509_getm_notBefore(certificate), from_days, 0, NULL);
    X509_time_adj_ex(X509_getm_notAfter(certificate), to_days, 0, NULL);
    X509_set_subject_name(certificate, subject);
    X509_set_issuer_name(certificate, issuer);
    X509_set_pubkey(certificate, key);
    if (name) {
        g_autofree gchar *alt_name = g_strdup_printf("DNS:%s", name);
        add(certificate, NID_subject_alt_name, alt_name);
    } else {
        add(certificate, NID_basic_constraints, "critical,CA:TRUE");
    }
    X509_sign(certificate, ca_key ? ca_key : key, EVP_sha256());
    save(stem, certificate, key);
    X509_NAME_free(subject);
    X509_NAME_free(issuer);
    X509_free(certificate);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
}

/* ---- processes ---- */

static void
peer_free(gpointer data)
{
    SamiPeer *peer = data;
    g_free(peer->name);
    g_strfreev(peer->addresses);
    g_free(peer->certificate_file);
    g_free(peer);
}

static void
configure(LabProcess *lab, const gchar *stem, const gchar *ca, const gchar *peers,
          const gchar *address)
{
    g_auto(GStrv) list = g_strsplit(peers, " ", -1);
    lab->config = (SamiNetworkConfig){ .connect_timeout_s = lab_connect_timeout_s };
    lab->config.is_sctp = lab_is_sctp;
    lab->config.limits = lab_limits;
    lab->config.sctp = lab_sctp;
    lab->config.certificate_file = lab_path(stem, ".crt");
    lab->config.key_file = lab_path(stem, ".key");
    lab->config.ca_file = ca ? lab_path(ca, ".crt") : NULL;
    lab->config.peers = g_ptr_array_new_with_free_func(peer_free);
    for (guint i = 0; list[i] && *list[i]; i++) {
        g_auto(GStrv) halves = g_strsplit(list[i], "=", 2);
        SamiPeer *peer = g_new0(SamiPeer, 1);
        peer->name = g_strdup(halves[0]);
        peer->addresses = address ? g_strsplit(address, ",", -1) : NULL;
        peer->certificate_file = *halves[1] ? lab_path(halves[1], ".crt") : NULL;
        g_ptr_array_add(lab->config.peers, peer);
    }
}

/* Whatever the test holds open is not the child's: a copy of a channel there would keep it from
 * ever closing. */
static void
close_others(int keep, int keep_too)
{
    for (int fd = 3; fd < 256; fd++)
        if (fd != keep && fd != keep_too)
            close(fd);
}

static void
start(LabProcess *lab, int listener, const gchar *user)
{
    int channel[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0)
        g_error("socketpair");
    lab->pid = fork();
    if (lab->pid < 0)
        g_error("fork");
    if (lab->pid == 0) {
        close_others(channel[1], listener);
        _exit(listener >= 0 ? sami_listener_run(&lab->config, listener, channel[1], user)
                            : sami_connector_run(&lab->config, channel[1], user));
    }
    close(channel[1]);
    lab->channel = channel[0];
}

void
lab_listen(LabProcess *lab, const gchar *stem, const gchar *ca, const gchar *peers,
           const gchar *user)
{
    struct sockaddr_in6 address; /* or IPv4: its port is at the same place */
    socklen_t length = sizeof(address);
    g_autoptr(GError) error = NULL;
    configure(lab, stem, ca, peers, NULL);
    lab->config.listen = g_strdup_printf("%s:0", lab_host);
    lab->config.sctp.udp_port = 0;
    int listener = sami_listener_open(&lab->config, &error);
    if (listener < 0 || getsockname(listener, (struct sockaddr *) &address, &length) != 0)
        g_error("listen: %s", error ? error->message : "getsockname");
    lab->port = ntohs(address.sin6_port);
    g_free(lab->config.listen);
    lab->config.listen = g_strdup_printf("%s:%u", lab_host, lab->port); /* the SCTP port is the same number as the UDP port */
    if (lab_sctp.backend != SAMI_SCTP_KERNEL)
        lab_sctp.udp_port = (guint16) lab->port;
    start(lab, listener, user);
    close(listener);
}

void
lab_connect(LabProcess *lab, const gchar *stem, const gchar *ca, const gchar *peers,
            const gchar *address)
{
    configure(lab, stem, ca, peers, address);
    start(lab, -1, NULL);
}

static int
finish(LabProcess *lab)
{
    int status = -1;
    if (lab->pid <= 0)
        return -1;
    close(lab->channel);
    waitpid(lab->pid, &status, 0);
    g_free(lab->config.listen);
    g_free(lab->config.certificate_file);
    g_free(lab->config.key_file);
    g_free(lab->config.ca_file);
    g_ptr_array_unref(lab->config.peers);
    *lab = (LabProcess){ 0 };
    return status;
}

gboolean
lab_stop(LabProcess *lab)
{
    int status = finish(lab);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void
lab_kill(LabProcess *lab)
{
    if (lab->pid > 0)
        kill(lab->pid, SIGKILL);
    finish(lab);
}

/* ---- waiting ---- */

static gboolean
wait_readable(int fd, int timeout_ms)
{
    struct pollfd entry = { fd, POLLIN, 0 };
    return poll(&entry, 1, timeout_ms) == 1;
}

SamiSessionSocket *
lab_session(LabProcess *lab, int timeout_ms)
{
    SamiChannelType type;
    guint32 request;
    g_autofree gchar *text = NULL;
    int fd = -1;
    do {
        g_clear_pointer(&text, g_free);
        if (!wait_readable(lab->channel, timeout_ms) ||
            sami_channel_receive(lab->channel, &type, &request, &text, &fd, NULL) !=
                SAMI_RECEIVE_FRAME)
            return NULL;
    } while (type == SAMI_CHANNEL_REFUSED);
    return fd < 0 ? NULL : sami_session_socket_new(fd);
}

SamiSessionSocket *
lab_request(LabProcess *lab, const gchar *name)
{
    if (!sami_channel_send(lab->channel, SAMI_CHANNEL_CONNECT, 1, name, -1, NULL))
        return NULL;
    return lab_session(lab, LAB_TIMEOUT_MS);
}

SamiReceive
lab_receive(SamiSessionSocket *session, SamiFrameType *ret_type, guint8 **ret_payload,
            gsize *ret_length)
{
    g_autoptr(GError) error = NULL;
    if (!wait_readable(sami_session_socket_fd(session), LAB_TIMEOUT_MS))
        return SAMI_RECEIVE_AGAIN;
    return sami_session_socket_receive(session, ret_type, ret_payload, ret_length, &error);
}

gchar *
lab_error(SamiSessionSocket *session)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    while (session && lab_receive(session, &type, &payload, &length) == SAMI_RECEIVE_FRAME)
        if (type == SAMI_FRAME_ERROR)
            return g_strndup((const gchar *) payload, length);
    return NULL;
}

gboolean
lab_opened(SamiSessionSocket *session, SamiFrameOpen *ret_open)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    if (!session || lab_receive(session, &type, &payload, &length) != SAMI_RECEIVE_FRAME)
        return FALSE;
    if (type == SAMI_FRAME_OPEN)
        return sami_frame_open_parse(payload, length, ret_open, NULL);
    if (type == SAMI_FRAME_ERROR)
        g_printerr("instead of OPEN: %.*s\n", (int) length, payload);
    return FALSE;
}

/* ---- Messages ---- */

gsize
lab_message(guint i, guint8 *message)
{
    guint32 state = i * 2654435761u + 1;
    gsize length = i % 7 == 0   ? lab_message_max()
                   : i % 5 == 0 ? SAMI_MESSAGE_HEADER
                                : MIN(SAMI_MESSAGE_HEADER + state % 20000, lab_message_max());
    message[0] = 0;
    message[1] = 10;
    message[2] = (guint8) (length >> 8);
    message[3] = (guint8) length;
    for (gsize at = 4; at < length; at++) {
        state = state * 1664525u + 1013904223u;
        message[at] = (guint8) (state >> 24);
    }
    return length;
}

gboolean
lab_is_message(guint i, const guint8 *message, gsize length)
{
    g_autofree guint8 *expected = g_malloc(SAMI_MESSAGE_MAX);
    return lab_message(i, expected) == length && !memcmp(message, expected, length);
}
