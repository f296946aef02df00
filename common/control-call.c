/* The client side of the control protocol, and what both sides share. */
#include "common/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/control-json.h"
#include "common/passing.h"

#define DEPTH_MAX 16
/* A status line with the refusals of every migration stays far below; more is no answer of a daemon
 * of ours. */
#define LINE_MAX_OCTETS (64u * 1024u * 1024u)

/* -1: four hexadecimal digits do not begin here. */
static gint
read_unit(const gchar *at, gsize left)
{
    gint unit = 0;
    for (gsize i = 0; i < 4; i++) {
        if (i >= left || !g_ascii_isxdigit(at[i]))
            return -1;
        unit = unit * 16 + g_ascii_xdigit_value(at[i]);
    }
    return unit;
}

/* Octets of the escape that begins here with its backslash (RFC 8259 §7); 0: it is none, or half a character. */
static gsize
measure_escape(const gchar *at, gsize left)
{
    if (left < 2 || at[1] != 'u')
        return left >= 2 && at[1] && strchr("\"\\/bfnrt", at[1]) ? 2 : 0;
    gint unit = read_unit(at + 2, left - 2);
    if (unit < 0 || (unit & 0xfc00) == 0xdc00)
        return 0;
    if ((unit & 0xfc00) != 0xd800)
        return 6;
    gint low = left >= 8 && at[6] == '\\' && at[7] == 'u' ? read_unit(at + 8, left - 8) : -1;
    return (low & 0xfc00) == 0xdc00 ? 12 : 0;
}

/* Whether this is one object, as far as the parser has to be kept from what it cannot do (json-glib 1.6.6): it recurses as deep as brackets do; it skips
 * comments and takes strings in other quotes, in which brackets do not count; it forgets to free the first of several values, and a string with half of a
 * surrogate pair. */
static gboolean
is_shallow_object(const gchar *line, gsize length)
{
    gboolean is_string = FALSE, has_begun = FALSE;
    gint depth = 0;
    for (gsize i = 0; i < length; i++) {
        gchar c = line[i];
        if (is_string && c == '\\') {
            gsize n = measure_escape(line + i, length - i);
            if (n == 0)
                return FALSE;
            i += n - 1;
        } else if (is_string) {
            is_string = c != '"';
        } else if (depth == 0 && !g_ascii_isspace(c)) {
            if (has_begun || c != '{')
                return FALSE;
            has_begun = TRUE;
            depth = 1;
        } else if (c == '"') {
            is_string = TRUE;
        } else if (c == '{' || c == '[') {
            if (++depth > DEPTH_MAX)
                return FALSE;
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (!g_ascii_isalnum(c) && !g_ascii_isspace(c) && !(c && strchr(",:+-.", c))) {
            return FALSE;
        }
    }
    return has_begun && depth == 0 && !is_string;
}

/* A number beyond a double becomes one without end ("inf"), and one that is written with an exponent and without a point gets one behind it
 * ("1e+17.0", json-glib 1.6.6): neither is JSON again. */
static gboolean
is_number(gdouble value)
{
    gchar text[G_ASCII_DTOSTR_BUF_SIZE];
    g_ascii_dtostr(text, sizeof text, value);
    return strchr(text, '.') || !strpbrk(text, "en");
}

static gboolean
is_printable(JsonNode *node)
{
    if (JSON_NODE_HOLDS_ARRAY(node)) {
        JsonArray *array = json_node_get_array(node);
        for (guint i = 0; i < json_array_get_length(array); i++)
            if (!is_printable(json_array_get_element(array, i)))
                return FALSE;
    } else if (JSON_NODE_HOLDS_OBJECT(node)) {
        JsonObjectIter iter;
        JsonNode *member;
        json_object_iter_init(&iter, json_node_get_object(node));
        while (json_object_iter_next(&iter, NULL, &member))
            if (!is_printable(member))
                return FALSE;
    }
    return !JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_DOUBLE || is_number(json_node_get_double(node));
}

JsonObject *
sami_control_json_parse(const gchar *line, gsize length, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) local = NULL;
    if (!g_utf8_validate(line, (gssize)length, NULL) || !is_shallow_object(line, length) ||
        !json_parser_load_from_data(parser, line, (gssize)length, &local)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "the line is no JSON object: %s",
                    local ? local->message : "it is not UTF-8, not one whole object, or nested too deeply");
        return NULL;
    }
    JsonNode *root = json_parser_get_root(parser);
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "the line is no JSON object");
        return NULL;
    }
    if (!is_printable(root)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "the line is no JSON object: a number is out of range");
        return NULL;
    }
    return json_node_dup_object(root);
}

gchar *
sami_control_json_print(JsonObject *object)
{
    g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), object);
    return json_to_string(node, FALSE);
}

const gchar *
sami_control_json_string(JsonObject *object, const gchar *member)
{
    JsonNode *node = json_object_get_member(object, member);
    gboolean is_string = node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING;
    return is_string ? json_node_get_string(node) : NULL;
}

const gchar *
sami_control_json_text(JsonObject *object, const gchar *member, const gchar *fallback)
{
    const gchar *text = sami_control_json_string(object, member);
    return text ? text : fallback;
}

JsonArray *
sami_control_json_array(JsonObject *object, const gchar *member)
{
    JsonNode *node = json_object_get_member(object, member);
    return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

void
sami_control_json_add_counts(JsonObject *object, const gchar *member, const guint64 *counts, guint n, const gchar *(*get_name)(guint))
{
    JsonObject *named = json_object_new();
    for (guint i = 1; i < n; i++)
        if (counts[i] > 0)
            json_object_set_int_member(named, get_name(i), (gint64)counts[i]);
    json_object_set_object_member(object, member, named);
}

static gboolean
fill_address(const gchar *path, struct sockaddr_un *address, GError **error)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (g_strlcpy(address->sun_path, path, sizeof address->sun_path) < sizeof address->sun_path)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s: too long for a socket path", path);
    return FALSE;
}

/* By errno. */
static void
set_error(const gchar *path, GError **error)
{
    gint code = SAMI_ERROR_FAILED;
    if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR)
        code = SAMI_ERROR_PEER;
    else if (errno == EACCES || errno == EPERM)
        code = SAMI_ERROR_PERMISSION;
    g_set_error(error, SAMI_ERROR, code, "%s: %s", path, g_strerror(errno));
}

static int
open_connection(const gchar *path, GError **error)
{
    struct sockaddr_un address;
    if (!fill_address(path, &address, error))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    set_error(path, error);
    if (fd >= 0)
        close(fd);
    return -1;
}

static gboolean
send_end(struct sockaddr_un *address, int end)
{
    SamiPassing control;
    struct iovec part = {(void *)"", 1};
    struct msghdr message = {.msg_name = address, .msg_namelen = sizeof *address, .msg_iov = &part, .msg_iovlen = 1};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    gssize n = -1;
    sami_passing_attach(&message, &control, &end, 1);
    while (fd >= 0 && (n = sendmsg(fd, &message, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    int saved_errno = errno;
    if (fd >= 0)
        close(fd);
    errno = saved_errno;
    return n > 0;
}

/* A daemon that ends without having taken the other end closes it, as it would a connection. */
static int
hand_over(const gchar *path, GError **error)
{
    struct sockaddr_un address;
    int ends[2];
    if (!fill_address(path, &address, error))
        return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        set_error(path, error);
        return -1;
    }
    gboolean is_sent = send_end(&address, ends[1]);
    if (!is_sent)
        set_error(path, error);
    close(ends[1]);
    if (is_sent)
        return ends[0];
    close(ends[0]);
    return -1;
}

static void
send_line(int fd, JsonObject *request)
{
    g_autofree gchar *text = sami_control_json_print(request);
    g_autofree gchar *line = g_strconcat(text, "\n", NULL);
    gsize length = strlen(line), at = 0;
    while (at < length) {
        gssize n = send(fd, line + at, length - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        /* A server that turns us away has closed already; why is in what it sent. */
        if (n < 0)
            return;
        at += (gsize)n;
    }
}

/* The next line, which stays in `input` up to *ret_length; the caller removes it with its newline.
 */
static gboolean
receive_line(int fd, GByteArray *input, gsize *ret_length, GError **error)
{
    gsize searched = 0;
    while (input->len < LINE_MAX_OCTETS) {
        guint8 buffer[16384];
        const guint8 *end =
            input->len ? memchr(input->data + searched, '\n', input->len - searched) : NULL;
        if (end) {
            *ret_length = (gsize)(end - input->data);
            return TRUE;
        }
        searched = input->len;
        gssize n = recv(fd, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                        "the daemon closed the connection before its last line%s%s",
                        n < 0 ? ": " : "", n < 0 ? g_strerror(errno) : "");
            return FALSE;
        }
        g_byte_array_append(input, buffer, (guint)n);
    }
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_MALFORMED,
                "the daemon sent a line of more than %u octets", LINE_MAX_OCTETS);
    return FALSE;
}

/* Closes `fd`; -1: there is an error already. */
static JsonObject *
converse(int fd, JsonObject *request, SamiControlEventFunc func, gpointer user_data, GError **error)
{
    g_autoptr(GByteArray) input = g_byte_array_new();
    g_autoptr(JsonObject) last = NULL;
    gsize length = 0;
    if (fd < 0)
        return NULL;
    send_line(fd, request);
    while (!last && receive_line(fd, input, &length, error)) {
        g_autoptr(JsonObject) object =
            sami_control_json_parse((const gchar *)input->data, length, error);
        if (!object)
            break;
        g_byte_array_remove_range(input, 0, (guint)length + 1);
        if (json_object_has_member(object, "exit"))
            last = g_steal_pointer(&object);
        else if (func)
            func(object, user_data);
    }
    close(fd);
    return g_steal_pointer(&last);
}

JsonObject *
sami_control_call(const gchar *path, JsonObject *request, SamiControlEventFunc func, gpointer user_data, GError **error)
{
    return converse(open_connection(path, error), request, func, user_data, error);
}

JsonObject *
sami_control_call_handed(const gchar *path, JsonObject *request, GError **error)
{
    return converse(hand_over(path, error), request, NULL, NULL, error);
}
