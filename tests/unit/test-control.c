/* The control protocol: server in the main loop, clients in threads or as raw sockets. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "common/control-json.h"
#include "common/control.h"
#include "common/limits.h"
#include "common/loop.h"
#include "common/passing.h"
#include "tests/unit/harness.h"

#define BIG (1024u * 1024u) /* an answer that is larger than what a socket takes */

static gchar *directory, *path;
static SamiControlServer *server;
static SamiControlClient *kept; /* of "keep" */
static const SamiControlAccess nobody;
static gint is_answered; /* on_request() has run to its end */
static guint n_requests, n_hangups;

static void
on_hangup(gpointer user_data)
{
    n_hangups++;
    g_clear_pointer(&kept, sami_control_client_unref);
}

typedef struct {
    guint number;
    gchar id[8];
} Item;

static void
answer_select(SamiControlClient *client, JsonObject *request)
{
    Item items[] = {{1, "ab12"}, {2, "ab34"}, {3, "cd56"}};
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    for (guint i = 0; i < G_N_ELEMENTS(items); i++)
        g_ptr_array_add(all, &items[i]);
    const Item *found = sami_control_select(client, request, all, G_STRUCT_OFFSET(Item, id));
    JsonObject *answer = json_object_new();
    json_object_set_int_member(answer, "number", found ? found->number : 0);
    sami_control_finish(client, SAMI_EXIT_DONE, answer, NULL); /* of no effect behind a refusal */
}

static void
on_request(SamiControlClient *client, JsonObject *request, gpointer user_data)
{
    const gchar *cmd = json_object_get_string_member(request, "cmd");
    n_requests++;
    if (!strcmp(cmd, "keep")) {
        kept = sami_control_client_ref(client);
        sami_control_client_on_hangup(client, on_hangup, NULL);
        return;
    }
    if (!strcmp(cmd, "select")) {
        answer_select(client, request);
        return;
    }
    if (!strcmp(cmd, "big")) {
        g_autofree gchar *pad = g_strnfill(BIG, 'x');
        sami_control_finish(client, SAMI_EXIT_FAILED, NULL, pad);
        return;
    }
    for (gint64 i = 0; i < json_object_get_int_member_with_default(request, "at", 0); i++) {
        JsonObject *event = json_object_new();
        json_object_set_string_member(event, "event", "progress");
        json_object_set_int_member(event, "i", i);
        json_object_set_string_member(event, "pad", "0123456789012345678901234567890123456789");
        sami_control_event(client, event);
    }
    JsonObject *answer = json_object_new();
    json_object_set_string_member(answer, "echo", cmd);
    gboolean is_bad = !strcmp(cmd, "bad");
    sami_control_finish(client, is_bad ? SAMI_EXIT_REFUSED : SAMI_EXIT_DONE, answer,
                        is_bad ? "no such thing" : NULL);
    sami_control_finish(client, SAMI_EXIT_FAILED, NULL, "a second last line goes nowhere");
    sami_control_event(client, json_object_new());
    g_atomic_int_set(&is_answered, 1);
}

static int
set_up(void)
{
    directory = g_dir_make_tmp("sami-control-XXXXXX", NULL);
    path = g_build_filename(directory, "run", "x.sock", NULL); /* the directory is made */
    server = sami_control_server_new(path, &nobody, on_request, NULL, NULL);
    return server ? 0 : 1;
}

/* And the directory: nothing else is left in it. */
static gboolean
remove_locks(const gchar *in)
{
    g_autoptr(GDir) entries = g_dir_open(in, 0, NULL);
    const gchar *name;
    while (entries && (name = g_dir_read_name(entries))) {
        g_autofree gchar *file = g_build_filename(in, name, NULL);
        if (g_str_has_suffix(name, ".lock"))
            g_remove(file);
    }
    return g_rmdir(in) != 0;
}

static int
tear_down(void)
{
    sami_control_server_free(server);
    gboolean is_left = g_file_test(path, G_FILE_TEST_EXISTS);
    g_autofree gchar *run = g_path_get_dirname(path);
    is_left |= remove_locks(run) || remove_locks(directory);
    g_free(path);
    g_free(directory);
    return is_left;
}

/* Turns the loop until `*flag`, or for so long that something must be wrong, sanitizers and a busy machine included. */
static gboolean
spin(const gint *flag)
{
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    while (!g_atomic_int_get(flag) && g_get_monotonic_time() < end) {
        g_main_context_iteration(NULL, FALSE);
        g_usleep(200);
    }
    return g_atomic_int_get(flag) != 0;
}

static void
turn(void)
{
    for (guint i = 0; i < 50; i++)
        g_main_context_iteration(NULL, FALSE);
}

typedef struct {
    JsonObject *request, *answer;
    GError *error;
    guint n_events;
    gint64 n_skipped, last;
    gboolean is_slow; /* reads no further before all events have been sent */
    gint is_done;
} Call;

static void
on_event(JsonObject *event, gpointer user_data)
{
    Call *call = user_data;
    call->n_events++;
    call->n_skipped += json_object_get_int_member_with_default(event, "skipped", 0);
    call->last = json_object_get_int_member(event, "i");
    while (call->is_slow && !g_atomic_int_get(&is_answered))
        g_usleep(200);
}

static gpointer
run_call(gpointer user_data)
{
    Call *call = user_data;
    call->answer = sami_control_call(path, call->request, on_event, call, &call->error);
    g_atomic_int_set(&call->is_done, 1);
    return NULL;
}

static GThread *
begin_call(Call *call, const gchar *request)
{
    call->request = sami_control_json_parse(request, strlen(request), NULL);
    return g_thread_new("client", run_call, call);
}

static void
end_call(Call *call, GThread *thread)
{
    CU_ASSERT_TRUE(spin(&call->is_done));
    g_thread_join(thread);
    json_object_unref(call->request);
}

static void
clear_call(Call *call)
{
    g_clear_pointer(&call->answer, json_object_unref);
    g_clear_error(&call->error);
}

static void
test_call(void)
{
    Call call = {0};
    end_call(&call, begin_call(&call, "{\"cmd\":\"hello\",\"at\":3}"));
    CU_ASSERT_PTR_NULL(call.error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(call.answer);
    CU_ASSERT_EQUAL(json_object_get_int_member(call.answer, "exit"), 0);
    CU_ASSERT_STRING_EQUAL(json_object_get_string_member(call.answer, "echo"), "hello");
    CU_ASSERT_FALSE(json_object_has_member(call.answer, "error"));
    CU_ASSERT_EQUAL(call.n_events, 3);
    clear_call(&call);
    Call refused = {0};
    end_call(&refused, begin_call(&refused, "{\"cmd\":\"bad\"}"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(refused.answer);
    CU_ASSERT_EQUAL(json_object_get_int_member(refused.answer, "exit"), 3);
    CU_ASSERT_STRING_EQUAL(json_object_get_string_member(refused.answer, "error"), "no such thing");
    clear_call(&refused);
}

static void
test_select(void)
{
    static const struct {
        const gchar *request;
        gint64 number; /* 0: refused */
    } rows[] = {{"{\"cmd\":\"select\",\"id\":\"ab3\"}", 2},  {"{\"cmd\":\"select\",\"id\":\"cd56\"}", 3},
                {"{\"cmd\":\"select\",\"id\":\"ab\"}", 0},   {"{\"cmd\":\"select\",\"id\":\"ef\"}", 0},
                {"{\"cmd\":\"select\",\"id\":\"cd567\"}", 0}, {"{\"cmd\":\"select\",\"id\":\"\"}", 0},
                {"{\"cmd\":\"select\"}", 0}};
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        Call call = {0};
        end_call(&call, begin_call(&call, rows[i].request));
        CU_ASSERT_PTR_NOT_NULL_FATAL(call.answer);
        CU_ASSERT_EQUAL(json_object_get_int_member(call.answer, "exit"), rows[i].number ? SAMI_EXIT_DONE : SAMI_EXIT_USAGE);
        CU_ASSERT_EQUAL(json_object_get_int_member_with_default(call.answer, "number", 0), rows[i].number);
        CU_ASSERT_EQUAL(json_object_has_member(call.answer, "error"), rows[i].number == 0);
        clear_call(&call);
    }
}

/* Events that a slow client has no room for are counted, and nothing else is lost. */
static void
test_slow(void)
{
    Call call = {.is_slow = TRUE};
    g_atomic_int_set(&is_answered, 0);
    end_call(&call, begin_call(&call, "{\"cmd\":\"many\",\"at\":50000}"));
    CU_ASSERT_PTR_NOT_NULL(call.answer);
    CU_ASSERT_TRUE(call.n_events > 1 && call.n_events < 50000);
    clear_call(&call);
}

static int
open_raw(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Sends all while the server turns, then reads for up to a second until `n_lines` lines or the end.
 * (transfer full) */
static gchar *
converse(int fd, const gchar *text, gsize length, guint n_lines, gboolean *ret_is_closed)
{
    GString *answer = g_string_new(NULL);
    gint64 end = g_get_monotonic_time() + G_USEC_PER_SEC;
    gboolean is_closed = FALSE;
    guint seen = 0;
    gsize at = 0;
    while (!is_closed && seen < n_lines && g_get_monotonic_time() < end) {
        gchar buffer[4096];
        gssize sent = at < length ? send(fd, text + at, length - at, MSG_NOSIGNAL) : 0;
        at += (gsize)MAX(sent, 0);
        g_main_context_iteration(NULL, FALSE);
        gssize n = recv(fd, buffer, sizeof buffer, 0);
        is_closed = n == 0 || (n < 0 && errno == ECONNRESET);
        for (gssize i = 0; i < n; i++)
            seen += buffer[i] == '\n';
        if (n > 0)
            g_string_append_len(answer, buffer, n);
    }
    if (ret_is_closed)
        *ret_is_closed = is_closed;
    return g_string_free(answer, FALSE);
}

typedef struct {
    const gchar *request;
    gint code;
    const gchar *text;
} Bad;

static const Bad bad[] = {
    {"", 2, "no JSON"},
    {"nonsense", 2, "no JSON"},
    {"1[]", 2, "no JSON"}, /* json-glib would forget the 1 */
    {"{}{}", 2, "no JSON"},
    {"{\"cmd\":", 2, "no JSON"},
    {"[]", 2, "object"},
    {"\"cmd\"", 2, "object"},
    {"{}", 2, "cmd"},
    {"{\"cmd\":1}", 2, "cmd"},
    {"{\"cmd\":null}", 2, "cmd"},
    {"{\"cmd\":{}}", 2, "cmd"},
    {"{\"cmd\":\"\xff\"}", 2, "UTF-8"},
    {"{\"cmd\":\"select\",\"id\":{}}", 2, "id"},
    {"{\"cmd\":\"select\",\"id\":null}", 2, "id"},
    {"{\"cmd\":\"echo\",\"vm\":[\"a\",1]}", 2, "vm"},
    {"{\"cmd\":\"echo\",\"vm\":[[\"a\"]]}", 2, "vm"},
    {"{\"cmd\":\"echo\",\"vm\":\"a\"}", 2, "array of strings"},
    {"{\"cmd\":\"echo\",\"now\":1}", 2, "true or false"},
    {"{\"cmd\":\"echo\",\"now\":[]}", 2, "true or false"},
    {"{\"cmd\":\"echo\",\"vlan\":4095}", 2, "allowed: 1 to 4094"},
    {"{\"cmd\":\"echo\",\"mark\":-1}", 2, "allowed: 0 to 4294967295"},
    {"{\"cmd\":\"echo\",\"mark\":1.5}", 2, "not a number"},
    {"{\"cmd\":\"echo\",\"mark\":1e311}", 2, "out of range"},
    {"{\"cmd\":\"echo\",\"vm\":[-1e400]}", 2, "out of range"},
    {"{\"cmd\":\"echo\",\"mark\":1e17}", 2, "out of range"},
    {"{\"cmd\":\"echo\",\"mark\":1e-13}", 2, "out of range"},
    {"{\"cmd\":\"echo\",\"colour\":\"red\"}", 2, "no member \"colour\""},
    {"{\"a\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}", 2, "deeply"},
    {"{\"cmd\":/*\"*/[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}", 2, "whole object"},
    {"{\"cmd\":\"\\ud83u\\dde00\"}", 2, "whole object"},
    {"{\"cmd\":\"\\ud83d\\ufe00\"}", 2, "whole object"}, /* nor this */
    {"{\"cmd\":'}'}", 2, "whole object"},
};

static void
test_bad(void)
{
    int fd = open_raw();
    guint before = n_requests;
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree gchar *line = g_strconcat(bad[i].request, "\n", NULL);
        g_autofree gchar *answer = converse(fd, line, strlen(line), 1, NULL);
        g_autoptr(JsonObject) object = sami_control_json_parse(answer, strlen(answer), NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(object);
        CU_ASSERT_EQUAL(json_object_get_int_member(object, "exit"), bad[i].code);
        CU_ASSERT_PTR_NOT_NULL(strstr(json_object_get_string_member(object, "error"), bad[i].text));
    }
    CU_ASSERT_EQUAL(n_requests, before);
    /* The connection is still good, and requests that come at once are answered one after the
     * other. */
    static const gchar both[] = "{\"cmd\":\"one\"}\n{\"cmd\":\"two\"}\n{\"cmd\":\"three\"}\n";
    g_autofree gchar *answer = converse(fd, both, strlen(both), 3, NULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "one"));
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "three"));
    close(fd);
    turn();
}

/* Who asks and asks and does not read makes no more than one answer wait; when he reads he gets all of them. */
static void
test_greedy(void)
{
    static const gchar request[] = "{\"cmd\":\"big\"}\n";
    enum { N = 20 };
    g_autoptr(GString) all = g_string_new(NULL);
    gchar *buffer = g_malloc(BIG);
    gsize n_lines = 0;
    guint before = n_requests;
    int fd = open_raw();
    for (guint i = 0; i < N; i++)
        g_string_append(all, request);
    CU_ASSERT_EQUAL(send(fd, all->str, all->len, 0), (gssize)all->len);
    turn();
    CU_ASSERT_EQUAL(n_requests, before + 1);
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    while (n_lines < N && g_get_monotonic_time() < end) {
        g_main_context_iteration(NULL, FALSE);
        gssize n = recv(fd, buffer, BIG, MSG_DONTWAIT);
        for (gssize i = 0; i < n; i++)
            n_lines += buffer[i] == '\n';
        CU_ASSERT(n_requests <= before + n_lines + 1);
    }
    CU_ASSERT_EQUAL(n_lines, N);
    g_free(buffer);
    close(fd);
    turn();
}

static void
test_too_long(void)
{
    int fd = open_raw();
    gboolean is_closed = FALSE;
    g_autofree gchar *text = g_strnfill(SAMI_CONTROL_REQUEST_MAX + 10000, 'x');
    g_autofree gchar *answer = converse(fd, text, strlen(text), 2, &is_closed);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "longer than 65536 octets"));
    CU_ASSERT_TRUE(is_closed);
    close(fd);
    turn();
    /* Exactly the limit is good. */
    GString *request = g_string_new("{\"cmd\":\"");
    while (request->len < SAMI_CONTROL_REQUEST_MAX - 3)
        g_string_append_c(request, 'y');
    g_string_append(request, "\"}\n");
    fd = open_raw();
    g_autofree gchar *good = converse(fd, request->str, request->len, 1, NULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(good, "\"exit\":0"));
    g_string_free(request, TRUE);
    close(fd);
    turn();
}

static void
test_hangup(void)
{
    int fd = open_raw();
    static const gchar keep[] = "{\"cmd\":\"keep\"}\n{\"cmd\":\"behind\"}\n";
    guint before = n_requests;
    g_autofree gchar *nothing = converse(fd, keep, strlen(keep), 1, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(kept);
    CU_ASSERT_STRING_EQUAL(nothing, "");
    CU_ASSERT_EQUAL(n_requests, before + 1); /* the second waits for the first */
    sami_control_event(kept, json_object_new());
    SamiControlClient *mine = sami_control_client_ref(kept);
    close(fd);
    turn();
    CU_ASSERT_EQUAL(n_hangups, 1);
    CU_ASSERT_PTR_NULL(kept);
    sami_control_event(mine, json_object_new()); /* harmless */
    sami_control_finish(mine, SAMI_EXIT_DONE, NULL, NULL);
    sami_control_client_unref(mine);
    CU_ASSERT_EQUAL(n_requests, before + 1);
    /* A late answer lets the request behind it go on, and hanging up after the last line is not
     * told. */
    fd = open_raw();
    g_autofree gchar *none = converse(fd, keep, strlen(keep), 1, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(kept);
    sami_control_finish(kept, SAMI_EXIT_LATE, NULL, "late");
    g_clear_pointer(&kept, sami_control_client_unref);
    g_autofree gchar *two = converse(fd, "", 0, 2, NULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(two, "late"));
    CU_ASSERT_PTR_NOT_NULL(strstr(two, "behind"));
    close(fd);
    turn();
    CU_ASSERT_EQUAL(n_hangups, 1);
}

static void
test_many(void)
{
    int fds[SAMI_CONTROL_CLIENTS_MAX];
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = open_raw();
        turn();
    }
    int one_more = open_raw();
    gboolean is_closed = FALSE;
    g_autofree gchar *answer = converse(one_more, "", 0, 2, &is_closed);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "too many clients"));
    CU_ASSERT_TRUE(is_closed);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);
    close(one_more);
    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        turn();
    Call call = {0};
    end_call(&call, begin_call(&call, "{\"cmd\":\"again\"}"));
    CU_ASSERT_PTR_NOT_NULL(call.answer);
    clear_call(&call);
}

static void
test_socket_file(void)
{
    g_autoptr(GError) error = NULL;
    struct stat status = {0};
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0660);
    /* Somebody listens: neither taken over nor removed. */
    CU_ASSERT_PTR_NULL(sami_control_server_new(path, &nobody, on_request, NULL, &error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(error);
    CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "another daemon"));
    CU_ASSERT_TRUE(g_file_test(path, G_FILE_TEST_EXISTS));
    g_clear_error(&error);
    /* A plain file: not removed. */
    g_autofree gchar *plain = g_build_filename(directory, "plain", NULL);
    g_file_set_contents(plain, "x", -1, NULL);
    CU_ASSERT_PTR_NULL(sami_control_server_new(plain, &nobody, on_request, NULL, &error));
    CU_ASSERT_TRUE(g_file_test(plain, G_FILE_TEST_EXISTS));
    g_clear_error(&error);
    g_remove(plain);
    /* Where others may write they could change what is ours. */
    g_autofree gchar *shared = g_build_filename(directory, "shared", NULL), *in_shared = g_build_filename(shared, "x.sock", NULL);
    CU_ASSERT_EQUAL(g_mkdir(shared, 0755), 0);
    for (guint i = 0; i < 3; i++) {
        static const mode_t modes[] = {0775, 0757, 01777};
        CU_ASSERT_EQUAL(chmod(shared, modes[i]), 0);
        CU_ASSERT_PTR_NULL(sami_control_server_new(in_shared, &nobody, on_request, NULL, &error));
        CU_ASSERT_PTR_NOT_NULL(error ? strstr(error->message, "others may write into it") : NULL);
        CU_ASSERT_FALSE(g_file_test(in_shared, G_FILE_TEST_EXISTS));
        g_clear_error(&error);
    }
    g_rmdir(shared);
    /* A socket without a listener is stale. */
    g_autofree gchar *stale = g_build_filename(directory, "stale", NULL);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_strlcpy(address.sun_path, stale, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    SamiControlServer *second = sami_control_server_new(stale, &nobody, on_request, NULL, &error);
    CU_ASSERT_PTR_NOT_NULL(second);
    sami_control_server_free(second);
    CU_ASSERT_FALSE(g_file_test(stale, G_FILE_TEST_EXISTS));
    g_autofree gchar *long_path = g_strnfill(200, 'a');
    CU_ASSERT_PTR_NULL(sami_control_server_new(long_path, &nobody, on_request, NULL, NULL));
}

static void
test_not_running(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) request = json_object_new();
    g_autofree gchar *nowhere = g_build_filename(directory, "nowhere.sock", NULL);
    CU_ASSERT_PTR_NULL(sami_control_call(nowhere, request, NULL, NULL, &error));
    CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_PEER));
    CU_ASSERT_EQUAL(sami_exit_of_error(error), SAMI_EXIT_FAILED);
}

/* One that is there but does not listen yet, and one whose socket file was removed: no second beside either, and its end takes nothing away. */
static void
test_two(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree gchar *at = g_build_filename(directory, "two.sock", NULL), *lock = g_strconcat(at, ".lock", NULL);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_strlcpy(address.sun_path, at, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), locked = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CU_ASSERT_EQUAL(flock(locked, LOCK_EX | LOCK_NB), 0);
    CU_ASSERT_EQUAL(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    CU_ASSERT_PTR_NULL(sami_control_server_new(at, &nobody, on_request, NULL, &error));
    CU_ASSERT_PTR_NOT_NULL(error ? strstr(error->message, "another daemon") : NULL);
    CU_ASSERT_TRUE(g_file_test(at, G_FILE_TEST_EXISTS));
    g_clear_error(&error);
    close(locked);
    /* Nor one that listens and has no lock. */
    CU_ASSERT_EQUAL(listen(fd, 1), 0);
    CU_ASSERT_PTR_NULL(sami_control_server_new(at, &nobody, on_request, NULL, &error));
    CU_ASSERT_PTR_NOT_NULL(error ? strstr(error->message, "another daemon listens") : NULL);
    CU_ASSERT_TRUE(g_file_test(at, G_FILE_TEST_EXISTS));
    g_clear_error(&error);
    close(fd);

    SamiControlServer *first = sami_control_server_new(at, &nobody, on_request, NULL, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(first);
    g_remove(at);
    CU_ASSERT_PTR_NULL(sami_control_server_new(at, &nobody, on_request, NULL, &error));
    CU_ASSERT_PTR_NOT_NULL(error ? strstr(error->message, "another daemon") : NULL);
    CU_ASSERT_FALSE(g_file_test(at, G_FILE_TEST_EXISTS));
    g_clear_error(&error);
    sami_control_server_free(first);
    SamiControlServer *second = sami_control_server_new(at, &nobody, on_request, NULL, &error);
    CU_ASSERT_PTR_NOT_NULL(second);
    sami_control_server_free(second);

    g_remove(lock);
    CU_ASSERT_EQUAL(symlink("elsewhere", lock), 0);
    CU_ASSERT_PTR_NULL(sami_control_server_new(at, &nobody, on_request, NULL, &error));
    CU_ASSERT_PTR_NOT_NULL(error ? strstr(error->message, "cannot lock") : NULL);
    g_remove(lock);
}

/* The daemon goes away in the middle of a request. */
static void
test_gone(void)
{
    Call call = {0};
    g_autofree gchar *other = g_build_filename(directory, "other.sock", NULL);
    g_autofree gchar *old = path;
    path = other;
    SamiControlServer *second = sami_control_server_new(other, &nobody, on_request, NULL, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(second);
    GThread *thread = begin_call(&call, "{\"cmd\":\"keep\"}");
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    while (!kept && g_get_monotonic_time() < end)
        g_main_context_iteration(NULL, FALSE);
    sami_control_server_free(second);
    end_call(&call, thread);
    CU_ASSERT_PTR_NULL(call.answer);
    CU_ASSERT_TRUE(g_error_matches(call.error, SAMI_ERROR, SAMI_ERROR_FAILED));
    CU_ASSERT_PTR_NOT_NULL_FATAL(kept);
    sami_control_finish(kept, SAMI_EXIT_DONE, NULL, NULL); /* harmless */
    g_clear_pointer(&kept, sami_control_client_unref);
    clear_call(&call);
    path = g_steal_pointer(&old);
}

/* Who may do what, by the credentials of real processes. */
static void
on_classed(SamiControlClient *client, JsonObject *request, gpointer user_data)
{
    static const SamiControlCommand commands[] = {
        {"look", SAMI_CONTROL_READS, NULL}, {"list", SAMI_CONTROL_INSPECTS, NULL}, {"change", SAMI_CONTROL_CHANGES, "show"}};
    if (sami_control_command(client, request, "the test", commands, G_N_ELEMENTS(commands), sizeof commands[0]) >= 0)
        sami_control_finish(client, SAMI_EXIT_DONE, NULL, NULL);
}

enum { OPERATORS = 1, READERS = 8, OUTSIDER = 5, STRANGERS = 65533 }; /* daemon and mail; games, the user: of every Debian */

/* In a process of its own: its exit status is that of the request, 99 if there was no answer. */
static pid_t
ask_as(const gchar *at, uid_t uid, gid_t gid, gid_t other, const gchar *request)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char answer[4096] = "", *code;
    g_strlcpy(address.sun_path, at, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (setgroups(other ? 1 : 0, &other) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        _exit(98);
    gssize sent = send(fd, request, strlen(request), MSG_NOSIGNAL), n = recv(fd, answer, sizeof answer - 1, 0);
    code = sent > 0 && n > 0 ? strstr(answer, "\"exit\":") : NULL;
    _exit(code ? atoi(code + strlen("\"exit\":")) : 99);
}

static int
wait_for(pid_t pid)
{
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    int status = -1;
    while (waitpid(pid, &status, WNOHANG) == 0 && g_get_monotonic_time() < end)
        g_main_context_iteration(NULL, FALSE);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
test_classes(void)
{
    static const SamiControlAccess access = {.operators = "daemon", .readers = "mail", .outsider = "games"},
                                   closed = {.operators = "daemon", .outsider = "games"};
    static const struct {
        uid_t uid;
        gid_t gid, other;
        const gchar *request;
        int exit, exit_closed; /* without a monitor group */
    } rows[] = {
        {0, 0, 0, "{\"cmd\":\"change\"}\n", 0, 0},
        {65534, OPERATORS, 0, "{\"cmd\":\"change\"}\n", 0, 0},
        {65534, STRANGERS, OPERATORS, "{\"cmd\":\"change\"}\n", 0, 0},
        {65534, STRANGERS, OPERATORS, "{\"cmd\":\"list\"}\n", 0, 0},
        {65534, READERS, 0, "{\"cmd\":\"look\"}\n", 0, 98},
        {65534, STRANGERS, READERS, "{\"cmd\":\"look\"}\n", 0, 98},
        {65534, READERS, 0, "{\"cmd\":\"list\"}\n", 10, 98},
        {65534, READERS, 0, "{\"cmd\":\"change\"}\n", 10, 98},
        {65534, READERS, 0, "{\"cmd\":\"change\",\"op\":\"show\"}\n", 0, 98},
        {65534, READERS, 0, "{\"cmd\":\"change\",\"op\":\"add\"}\n", 10, 98},
        {65534, READERS, 0, "{\"cmd\":\"look\",\"op\":\"add\"}\n", 0, 98},
        {65534, STRANGERS, 0, "{\"cmd\":\"look\"}\n", 10, 98},
        {OUTSIDER, OPERATORS, 0, "{\"cmd\":\"change\"}\n", 10, 10},
        {OUTSIDER, STRANGERS, OPERATORS, "{\"cmd\":\"look\"}\n", 10, 10},
        {OUTSIDER, READERS, 0, "{\"cmd\":\"look\"}\n", 10, 98},
    };
    if (geteuid() != 0)
        return;
    chmod(directory, 0755);
    for (guint k = 0; k < 2; k++) {
        g_autofree gchar *at = g_build_filename(directory, "classes.sock", NULL);
        g_autoptr(SamiControlServer) classed = sami_control_server_new(at, k ? &closed : &access, on_classed, NULL, NULL);
        struct stat file = {0};
        CU_ASSERT_PTR_NOT_NULL_FATAL(classed);
        CU_ASSERT_EQUAL(stat(at, &file), 0);
        CU_ASSERT_EQUAL(file.st_mode & 0777, k ? 0660 : 0666);
        CU_ASSERT_EQUAL(file.st_gid, OPERATORS);
        for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
            CU_ASSERT_EQUAL(wait_for(ask_as(at, rows[i].uid, rows[i].gid, rows[i].other, rows[i].request)),
                            k ? rows[i].exit_closed : rows[i].exit);
        turn();
    }
}

typedef struct {
    const gchar *at;
    JsonObject *request, *answer;
    GError *error;
    gint is_done;
} Handed;

static gpointer
run_handed(gpointer user_data)
{
    Handed *handed = user_data;
    handed->answer = sami_control_call_handed(handed->at, handed->request, &handed->error);
    g_atomic_int_set(&handed->is_done, 1);
    return NULL;
}

/* The exit code; -1: no answer. */
static gint
ask_handed(const gchar *at, const gchar *request)
{
    Handed handed = {.at = at, .request = sami_control_json_parse(request, strlen(request), NULL)};
    GThread *thread = g_thread_new("handed", run_handed, &handed);
    CU_ASSERT_TRUE(spin(&handed.is_done));
    g_thread_join(thread);
    gint code = handed.answer ? (gint)json_object_get_int_member(handed.answer, "exit") : -1;
    json_object_unref(handed.request);
    g_clear_pointer(&handed.answer, json_object_unref);
    g_clear_error(&handed.error);
    return code;
}

/* The kernel closes what is not taken: the other end says so. */
static gboolean
is_closed(int fd)
{
    gchar octet;
    turn();
    return recv(fd, &octet, 1, MSG_DONTWAIT) == 0;
}

static void
send_fds(const gchar *at, const int *fds, guint n_fds)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _Alignas(struct cmsghdr) guint8 control[CMSG_SPACE(2 * sizeof(int))];
    struct iovec part = {(void *)"x", 1};
    struct msghdr message = {.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &part, .msg_iovlen = 1};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_strlcpy(address.sun_path, at, sizeof address.sun_path);
    if (n_fds > 0)
        sami_passing_attach(&message, control, fds, n_fds);
    CU_ASSERT_EQUAL(sendmsg(fd, &message, 0), 1);
    close(fd);
}

/* Connections that are handed over: asked and answered as others, but root changes nothing by them. What is none is passed over. */
static void
test_handover(void)
{
    g_autofree gchar *at = g_build_filename(directory, "handing.sock", NULL), *beside = g_build_filename(directory, "handing-pair.sock", NULL);
    const SamiControlAccess access = {.handover = beside};
    struct stat status = {0};
    int ends[2], packets[2];
    struct sockaddr_un stale = {.sun_family = AF_UNIX};
    g_strlcpy(stale.sun_path, beside, sizeof stale.sun_path);
    int left = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL(bind(left, (const struct sockaddr *)&stale, sizeof stale), 0);
    close(left);
    CU_ASSERT_EQUAL(ask_handed(beside, "{\"cmd\":\"look\"}"), -1);

    /* Where there cannot be one there is no server either, and no file of it. */
    g_autofree gchar *plain = g_build_filename(directory, "no-socket", NULL), *long_path = g_strnfill(200, 'a');
    const SamiControlAccess of_plain = {.handover = plain}, too_long = {.handover = long_path};
    g_autoptr(GError) of_file = NULL, of_length = NULL;
    CU_ASSERT_TRUE(g_file_set_contents(plain, "x", -1, NULL));
    CU_ASSERT_PTR_NULL(sami_control_server_new(at, &of_plain, on_classed, NULL, &of_file));
    CU_ASSERT_PTR_NOT_NULL(of_file ? strstr(of_file->message, "cannot bind control socket") : NULL);
    CU_ASSERT_PTR_NULL(sami_control_server_new(at, &too_long, on_classed, NULL, &of_length));
    CU_ASSERT_PTR_NOT_NULL(of_length ? strstr(of_length->message, "longer than") : NULL);
    CU_ASSERT_TRUE(g_file_test(plain, G_FILE_TEST_EXISTS) && !g_file_test(at, G_FILE_TEST_EXISTS));
    g_remove(plain);

    SamiControlServer *handing = sami_control_server_new(at, &access, on_classed, NULL, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(handing);
    CU_ASSERT_EQUAL(stat(beside, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
    CU_ASSERT_EQUAL(ask_handed(beside, "{\"cmd\":\"look\"}"), 0);
    CU_ASSERT_EQUAL(ask_handed(beside, "{\"cmd\":\"list\"}"), 0);
    CU_ASSERT_EQUAL(ask_handed(beside, "{\"cmd\":\"change\"}"), SAMI_EXIT_NOT_PERMITTED);
    CU_ASSERT_EQUAL(ask_handed(beside, "{\"cmd\":\"change\",\"op\":\"show\"}"), 0);
    CU_ASSERT_EQUAL(ask_handed(at, "{\"cmd\":\"look\"}"), -1); /* the other socket is not for this */

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets), 0);
    send_fds(beside, NULL, 0);
    send_fds(beside, &packets[1], 1);
    close(packets[1]);
    CU_ASSERT_TRUE(is_closed(packets[0]));
    const int two[] = {ends[1], packets[0]}; /* the second of them goes */
    send_fds(beside, two, 2);
    close(ends[1]);
    CU_ASSERT_EQUAL(send(ends[0], "{\"cmd\":\"look\"}\n", 15, 0), 15);
    gchar octets[64] = "";
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    while (recv(ends[0], octets, sizeof octets - 1, MSG_DONTWAIT) < 0 && g_get_monotonic_time() < end)
        turn();
    CU_ASSERT_PTR_NOT_NULL(strstr(octets, "\"exit\":0"));
    close(packets[0]);

    /* In the queue of a daemon that ends: closed with it. */
    int queued[2];
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, queued), 0);
    send_fds(beside, &queued[1], 1);
    close(queued[1]);
    sami_control_server_free(handing);
    CU_ASSERT_TRUE(is_closed(queued[0]));
    close(queued[0]);
    CU_ASSERT_TRUE(is_closed(ends[0]));
    close(ends[0]);
    CU_ASSERT_FALSE(g_file_test(beside, G_FILE_TEST_EXISTS) || g_file_test(at, G_FILE_TEST_EXISTS));
}

/* A client that says nothing, or half a request, loses its place; one whose request runs does not. */
static void
test_idle(void)
{
    static const SamiControlAccess hasty = {.idle_ms = 300};
    g_autofree gchar *at = g_build_filename(directory, "hasty.sock", NULL), *old = path;
    g_autoptr(SamiControlServer) second = sami_control_server_new(at, &hasty, on_request, NULL, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(second);
    path = at;
    int silent = open_raw(), half = open_raw(), busy = open_raw();
    CU_ASSERT_EQUAL(send(half, "{\"cmd\"", 6, 0), 6);
    CU_ASSERT_EQUAL(send(busy, "{\"cmd\":\"keep\"}\n", 15, 0), 15);
    path = g_steal_pointer(&old);
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    gchar octet;
    gboolean is_cut[2] = {FALSE, FALSE};
    while (!(is_cut[0] && is_cut[1]) && g_get_monotonic_time() < end) {
        g_main_context_iteration(NULL, FALSE);
        is_cut[0] |= recv(silent, &octet, 1, MSG_DONTWAIT) == 0;
        is_cut[1] |= recv(half, &octet, 1, MSG_DONTWAIT) == 0;
        g_usleep(500);
    }
    CU_ASSERT_TRUE(is_cut[0] && is_cut[1]);
    CU_ASSERT_EQUAL(recv(busy, &octet, 1, MSG_DONTWAIT), -1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(kept);
    sami_control_finish(kept, SAMI_EXIT_DONE, NULL, NULL);
    g_clear_pointer(&kept, sami_control_client_unref);
    turn();
    CU_ASSERT_EQUAL(recv(busy, &octet, 1, MSG_DONTWAIT), 1);
    close(silent);
    close(half);
    close(busy);
}

static void
test_exit_codes(void)
{
    static const struct {
        SamiErrorCode code;
        SamiExit exit;
    } rows[] = {{SAMI_ERROR_REFUSED, 3},
                {SAMI_ERROR_USAGE, 2},
                {SAMI_ERROR_PERMISSION, 10},
                {SAMI_ERROR_KERNEL, 1},
                {SAMI_ERROR_CONFIG, 1}};
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = g_error_new_literal(SAMI_ERROR, (gint)rows[i].code, "x");
        CU_ASSERT_EQUAL(sami_exit_of_error(error), rows[i].exit);
    }
}

static gboolean
on_ready(GIOCondition condition, gpointer user_data)
{
    ++*(guint *)user_data;
    return G_SOURCE_CONTINUE;
}

static gboolean
on_turn(gpointer user_data)
{
    *(guint *)user_data = 1;
    return G_SOURCE_REMOVE;
}

/* A peer that always has something to read keeps nothing waiting. */
static void
test_idle_turn(void)
{
    guint n_ready = 0, has_turned = 0;
    int fds[2];
    CU_ASSERT_EQUAL_FATAL(pipe(fds), 0);
    CU_ASSERT_EQUAL(write(fds[1], "x", 1), 1);
    GSource *source = sami_fd_source_new(fds[0], G_IO_IN, on_ready, &n_ready, NULL);
    sami_idle_add(on_turn, &has_turned);
    turn();
    CU_ASSERT_TRUE(n_ready > 40);
    CU_ASSERT_TRUE(has_turned);
    g_source_destroy(source);
    g_source_unref(source);
    close(fds[0]);
    close(fds[1]);
}

int
main(void)
{
    static const SamiTest tests[] = {
        {"a call", test_call},
        {"one by a prefix of its id", test_select},
        {"a slow client", test_slow},
        {"bad requests", test_bad},
        {"requests without reading", test_greedy},
        {"a long request", test_too_long},
        {"hanging up", test_hangup},
        {"many clients", test_many},
        {"socket file", test_socket_file},
        {"two daemons", test_two},
        {"no daemon", test_not_running},
        {"daemon goes away", test_gone},
        {"classes of clients", test_classes},
        {"connections that are handed over", test_handover},
        {"idle clients", test_idle},
        {"exit codes", test_exit_codes},
        {"a turn of the loop", test_idle_turn},
    };
    return sami_test_main("control", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
