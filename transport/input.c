#include "transport/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cursor.h"
#include "templates/rules.h"
#include "transport/capture.h"

#define ROOM (256u * 1024u)  /* several Messages, and one read() */
#define GZIP_MAGIC 0x1f8bu
#define TLS_HANDSHAKE 0x1603u

struct SamiInput {
    SamiInputOptions options;
    gchar *key_log;
    guint16 *ports;
    int fd;
    guint64 n_read, size;    /* octets */
    SamiCapture *capture;    /* NULL: an IPFIX file */
    guint8 peeked[4];        /* the first octets, which the capture's library reads again */
    guint n_peeked, n_given;
    guint64 given;           /* octets that the capture's library has got */
    guint8 *buffer;          /* ROOM */
    gsize at, end;           /* what of the buffer is not yet used */
    guint64 offset;          /* of buffer[at] in the input */
    guint64 lost_at;         /* where the octets that are no Message begin; G_MAXUINT64: they do not */
    gboolean has_ended;
};

const gchar *
sami_carrier_name(SamiCarrier carrier)
{
    static const gchar *const names[] = { "file", "udp", "tcp", "sctp", "tls" };
    return carrier < G_N_ELEMENTS(names) ? names[carrier] : "?";
}

/* >0 octets, 0 end, <0 errno */
static ssize_t
read_some(int fd, void *octets, gsize n)
{
    ssize_t got;
    do
        got = read(fd, octets, n);
    while (got < 0 && errno == EINTR);
    return got;
}

static ssize_t
give(void *cookie, char *octets, size_t n)
{
    SamiInput *input = cookie;
    if (input->n_given < input->n_peeked) {
        gsize m = MIN(n, (gsize) (input->n_peeked - input->n_given));
        memcpy(octets, input->peeked + input->n_given, m);
        input->n_given += (guint) m;
        input->given += m;
        return (ssize_t) m;
    }
    ssize_t got = read_some(input->fd, octets, n);
    if (got > 0) {
        input->n_read += (guint64) got;
        input->given += (guint64) got;
    }
    return got;
}

/* ftell() only: where in the input the library stands. */
static int
tell(void *cookie, off64_t *offset, int whence)
{
    SamiInput *input = cookie;
    if (whence != SEEK_CUR || *offset != 0)
        return -1;
    *offset = (off64_t) input->given;
    return 0;
}

static gboolean
open_capture(SamiInput *input, GError **error)
{
    FILE *file = fopencookie(input, "r", (cookie_io_functions_t){ .read = give, .seek = tell });
    if (!file) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s", g_strerror(errno));
        return FALSE;
    }
    input->capture = sami_capture_open(file, &input->options, error);
    return input->capture != NULL;
}

/* What the first octets are, where that helps whoever gave us the wrong file. */
static gboolean
refuse_form(const guint8 first[4], guint n, GError **error)
{
    guint16 word = (guint16) (first[0] << 8 | first[1]);
    const gchar *form = "it begins neither like an IPFIX Message (version 10, RFC 7011 §3.1) nor like a pcap or pcapng file";
    if (n == 0)
        form = "it is empty";
    else if (n >= 2 && word == GZIP_MAGIC)
        form = "it is compressed with gzip: gzip -dc FILE | sami-replay … -";
    else if (n >= 2 && word == TLS_HANDSHAKE)
        form = "these are the records of a TLS connection: capture it whole (tcpdump -w) with a key log, or read the collector's journal";
    else if (n >= 2 && (word == 9 || word == 5))
        form = "it begins like NetFlow, which is not IPFIX";
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "%s", form);
    return FALSE;
}

/* Is `octets` the header of a Message: version 10, and long enough for itself? */
static gboolean
is_header(const guint8 *octets)
{
    return octets[0] == 0 && octets[1] == 10 && (octets[2] << 8 | octets[3]) >= (gint) SAMI_MESSAGE_HEADER;
}

SamiInput *
sami_input_open(const gchar *path, const SamiInputOptions *options, GError **error)
{
    g_autoptr(SamiInput) input = g_new0(SamiInput, 1);
    struct stat info;
    gboolean is_stdin = strcmp(path, "-") == 0;
    input->options = *options;
    input->options.key_log = input->key_log = g_strdup(options->key_log);
    input->options.ports = input->ports = g_memdup2(options->ports, options->n_ports * sizeof *options->ports);
    input->lost_at = G_MAXUINT64;
    input->fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
    if (input->fd < 0 || fstat(input->fd, &info) != 0) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s", path, g_strerror(errno));
        return NULL;
    }
    input->size = S_ISREG(info.st_mode) ? (guint64) info.st_size : 0;
    while (input->n_peeked < sizeof input->peeked) {
        ssize_t n = read_some(input->fd, input->peeked + input->n_peeked, sizeof input->peeked - input->n_peeked);
        if (n < 0) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s: %s", path, g_strerror(errno));
            return NULL;
        }
        if (n == 0)
            break;
        input->n_peeked += (guint) n;
    }
    input->n_read = input->n_peeked;
    if (input->n_peeked == sizeof input->peeked && sami_capture_is(input->peeked)) {
        if (options->is_following)
            g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_USAGE, "only IPFIX files are followed; of a capture that runs, read a pipe");
        if (options->is_following || !open_capture(input, error)) {
            g_prefix_error(error, "%s: ", path);
            return NULL;
        }
        return g_steal_pointer(&input);
    }
    /* A journal whose first Message is still to come is followed from nothing. */
    gboolean is_young = options->is_following && input->n_peeked == 0;
    if (!is_young && (input->n_peeked < 2 || input->peeked[0] != 0 || input->peeked[1] != 10)) {
        refuse_form(input->peeked, input->n_peeked, error);
        g_prefix_error(error, "%s: ", path);
        return NULL;
    }
    input->buffer = g_malloc(ROOM);
    memcpy(input->buffer, input->peeked, input->n_peeked);
    input->end = input->n_peeked;
    return g_steal_pointer(&input);
}

void
sami_input_free(SamiInput *input)
{
    if (!input)
        return;
    sami_capture_free(input->capture);
    if (input->fd >= 0)
        close(input->fd);
    g_free(input->buffer);
    g_free(input->key_log);
    g_free(input->ports);
    g_free(input);
}

/* At least n octets from `at` on, if the input has them. FALSE with `fault` set: reading failed. */
static gboolean
fill(SamiInput *input, gsize n, GError **fault)
{
    if (input->end - input->at < n && input->at > 0) {
        memmove(input->buffer, input->buffer + input->at, input->end - input->at);
        input->end -= input->at;
        input->at = 0;
    }
    while (input->end - input->at < n) {
        ssize_t got = read_some(input->fd, input->buffer + input->end, ROOM - input->end);
        if (got < 0) {
            g_set_error(fault, SAMI_ERROR, SAMI_ERROR_FAILED, "at octet %" G_GUINT64_FORMAT ": %s", input->n_read, g_strerror(errno));
            return FALSE;
        }
        if (got == 0)
            break;
        input->end += (gsize) got;
        input->n_read += (guint64) got;
    }
    return TRUE;
}

static void
skip(SamiInput *input, gsize n)
{
    input->at += n;
    input->offset += n;
}

/* One fault for all octets that are no Message, said where the next one begins. */
static SamiInputStatus
report_lost(SamiInput *input, SamiInputMessage *ret, GError **fault)
{
    *ret = (SamiInputMessage){ .offset = input->lost_at, .ends = "" };
    sami_rule_error(fault, SAMI_RULE_MESSAGE_VERSION, "%" G_GUINT64_FORMAT " octets are no Message: passed over", input->offset - input->lost_at);
    input->lost_at = G_MAXUINT64;
    return SAMI_INPUT_FAULT;
}

/* The file ends, with `left` octets that are not a whole Message. */
static SamiInputStatus
finish(SamiInput *input, gsize left, SamiInputMessage *ret, GError **fault)
{
    if (input->options.is_following)
        return SAMI_INPUT_WAIT;
    if (input->lost_at != G_MAXUINT64) {
        skip(input, left);
        return report_lost(input, ret, fault);
    }
    if (left == 0 || input->has_ended)
        return SAMI_INPUT_END;
    input->has_ended = TRUE;
    *ret = (SamiInputMessage){ .offset = input->offset, .ends = "" };
    sami_rule_error(fault, SAMI_RULE_MESSAGE_CUT, "the file ends after %zu octets of a Message", left);
    return SAMI_INPUT_FAULT;
}

/* A Message that does not begin like one makes us look for the next that does: octet by octet, and it has to be followed by another, or by the
 * end, since two octets "10" are found in much that is no header. */
static gboolean
is_message_here(SamiInput *input, GError **fault)
{
    const guint8 *p = input->buffer + input->at;
    gsize length = (gsize) (p[2] << 8 | p[3]);
    if (!is_header(p))
        return FALSE;
    if (input->lost_at == G_MAXUINT64)
        return TRUE;
    if (!fill(input, length + 4, fault))
        return FALSE;
    p = input->buffer + input->at;
    return input->end - input->at == length || (input->end - input->at >= length + 4 && is_header(p + length));
}

static SamiInputStatus
next_of_file(SamiInput *input, SamiInputMessage *ret, GError **fault)
{
    for (;;) {
        GError *failure = NULL;
        gboolean is_read = fill(input, SAMI_MESSAGE_HEADER, &failure);
        gsize left = input->end - input->at;
        gboolean is_message = is_read && left >= SAMI_MESSAGE_HEADER && is_message_here(input, &failure);
        if (failure) {
            g_propagate_error(fault, failure);
            return SAMI_INPUT_END;
        }
        if (left < SAMI_MESSAGE_HEADER)
            return finish(input, left, ret, fault);
        if (!is_message) {
            if (input->lost_at == G_MAXUINT64)
                input->lost_at = input->offset;
            skip(input, 1);
            continue;
        }
        if (input->lost_at != G_MAXUINT64)
            return report_lost(input, ret, fault);
        gsize length = (gsize) (input->buffer[input->at + 2] << 8 | input->buffer[input->at + 3]);
        if (!fill(input, length, &failure)) {
            g_propagate_error(fault, failure);
            return SAMI_INPUT_END;
        }
        if (input->end - input->at < length)
            return finish(input, input->end - input->at, ret, fault);
        *ret = (SamiInputMessage){ .octets = input->buffer + input->at, .length = length, .offset = input->offset, .ends = "" };
        skip(input, length);
        return SAMI_INPUT_MESSAGE;
    }
}

SamiInputStatus
sami_input_next(SamiInput *input, SamiInputMessage *ret, GError **fault)
{
    return input->capture ? sami_capture_next(input->capture, ret, fault) : next_of_file(input, ret, fault);
}

void
sami_input_progress(const SamiInput *input, guint64 *ret_read, guint64 *ret_size)
{
    *ret_read = input->n_read;
    *ret_size = input->size;
}

const gchar *
sami_input_form(const SamiInput *input)
{
    return input->capture ? sami_capture_form(input->capture) : "IPFIX file";
}

void
sami_input_counts(const SamiInput *input, SamiInputCounts *ret)
{
    *ret = (SamiInputCounts){ 0 };
    if (input->capture)
        sami_capture_counts(input->capture, ret);
}
