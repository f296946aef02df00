/* hostile-between CONFIG-DIR NETNS CONFIG-DIR NETNS SAMICTL [CASE]: the first of each is the exporter's firewall. Starts the state processes of both,
 * in their sandboxes, and is their network process. Each case misuses that in one way, with a VM of its own, 10.0.0.20 and up, all of which have
 * the same number of sessions; then nothing of it may be in the collector's table, no migration may have ended well, and both state processes must
 * be there and serve an honest migration, which is the first and the last case.
 *
 * Exit status 0: so it was. */
#include "tests/hostile/between.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/state.h"
#include "common/control.h"
#include "exporter/state.h"
#include "tests/hostile/watch.h"

#define CASE_TIMEOUT_S 30
/* How long an attack is watched to which no end of the migration is the answer; and how long such an end is waited for. */
#define WATCH_US (2000 * 1000)
#define REFUSED_US (12000 * 1000)
#define FIRST_VM 20u

typedef struct {
    Between between;
    const gchar *directories[2], *namespaces[2], *samictl;
    gchar *vm;
    gchar *sockets[2];
    gchar *output;
    Watch watch;
} Lab;

static const gchar *const sides[] = { "exporter", "collector" };

/* ---- the state processes ---- */

static void
be_state_process(const Lab *lab, guint side, int channel)
{
    g_autoptr(GError) error = NULL;
    g_autofree gchar *path = g_build_filename(lab->directories[side], "sami.conf", NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(lab->namespaces[side], O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
        die("%s: %s", lab->namespaces[side], g_strerror(errno));
    close(fd);
    g_autoptr(SamiConfig) config = sami_config_load(path, &error);
    if (!config)
        die("%s", error->message);
    _exit(side == EXPORTER ? sami_exporter_run(config, channel) : sami_collector_run(config, channel));
}

static void
start(Lab *lab)
{
    for (guint side = 0; side < 2; side++) {
        int fds[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
            die("socketpair: %s", g_strerror(errno));
        lab->between.processes[side] = fork();
        if (lab->between.processes[side] == 0) {
            close(fds[0]);
            if (side == COLLECTOR)
                close(lab->between.channels[EXPORTER]);
            be_state_process(lab, side, fds[1]);
        }
        close(fds[1]);
        lab->between.channels[side] = fds[0];
    }
    for (guint side = 0; side < 2; side++) {
        gint64 end_us = g_get_monotonic_time() + CASE_TIMEOUT_S * G_USEC_PER_SEC;
        while (!g_file_test(lab->sockets[side], G_FILE_TEST_EXISTS) && g_get_monotonic_time() < end_us)
            g_usleep(10000);
    }
}

/* What a state process answers to `stats`; NULL: nothing. (transfer full) */
static JsonObject *
ask(const Lab *lab, guint side)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "cmd", "stats");
    if (waitpid(lab->between.processes[side], NULL, WNOHANG) != 0)
        return NULL;
    return sami_control_call(lab->sockets[side], request, NULL, NULL, &error);
}

static gboolean
is_alive(const Lab *lab, guint side)
{
    g_autoptr(JsonObject) answer = ask(lab, side);
    return answer != NULL;
}

/* How often the collector has refused something for it. */
static gint64
count_refused(const Lab *lab, const gchar *reason)
{
    g_autoptr(JsonObject) answer = reason ? ask(lab, COLLECTOR) : NULL;
    g_autofree gchar *name = g_strdup_printf("refused_%s_total", reason ? reason : "");
    if (!answer)
        return 0;
    return json_object_get_int_member_with_default(json_object_get_object_member(answer, "counters"), name, 0);
}

/* ---- between them ---- */

gboolean
between_send(SamiSessionSocket *to, SamiFrameType type, const guint8 *payload, gsize length)
{
    g_autoptr(GError) error = NULL;
    while (!sami_session_socket_send(to, type, payload, length, &error)) {
        struct pollfd entry = { sami_session_socket_fd(to), POLLOUT, 0 };
        if (!g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL))
            return FALSE;
        g_clear_error(&error);
        poll(&entry, 1, 100);
    }
    return TRUE;
}

SamiSessionSocket *
between_pair(Between *between, guint side, guint32 request)
{
    SamiSessionSocket *own = NULL;
    g_autoptr(GError) error = NULL;
    int other = -1;
    gboolean is_passed = sami_session_pair(&own, &other, &error);
    while (is_passed && !sami_channel_send(between->channels[side], SAMI_CHANNEL_SESSION, request, "fw1.example", other, &error)) {
        is_passed = g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL);
        g_clear_error(&error);
        g_usleep(1000);
    }
    if (!is_passed)
        die("no session with the %s", sides[side]);
    close(other);
    return own;
}

static void
session_free(gpointer data)
{
    Session *s = data;
    sami_session_socket_free(s->ends[EXPORTER]);
    sami_session_socket_free(s->ends[COLLECTOR]);
    g_ptr_array_unref(s->held);
    g_free(s);
}

static void
open_session(Between *between, const BetweenCase *what, guint32 request)
{
    Session *s = g_new0(Session, 1);
    SamiFrameOpen opens[2] = { { .version = 1, .transport = 1, .message_max = SAMI_MESSAGE_MAX_SCTP, .name = "fw2.example", .address = "10.255.0.2:4740" } };
    *s = (Session){ .between = between, .what = what, .index = between->sessions->len, .held = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref) };
    sami_random(opens[EXPORTER].ekm, sizeof opens[EXPORTER].ekm);
    opens[COLLECTOR] = opens[EXPORTER];
    g_strlcpy(opens[COLLECTOR].name, "fw1.example", sizeof opens[COLLECTOR].name);
    if (what->on_open)
        what->on_open(s, opens);
    else if (!what->on_message)
        between->recording.open = opens[COLLECTOR];
    for (guint side = 0; side < 2; side++) {
        s->ends[side] = between_pair(between, side, side == EXPORTER ? request : 0);
        sami_session_socket_send_open(s->ends[side], &opens[side], NULL);
    }
    g_ptr_array_add(between->sessions, s);
}

static void
end_side(Session *s, guint side)
{
    if (s->ends[!side])
        sami_session_send_text(s->ends[!side], SAMI_FRAME_ERROR, "the connection broke", NULL);
    g_clear_pointer(&s->ends[side], sami_session_socket_free);
}

static void
pass_on(Session *s, guint from, SamiFrameType type, const guint8 *payload, gsize length)
{
    if (s->ends[!from] && !between_send(s->ends[!from], type, payload, length))
        g_clear_pointer(&s->ends[!from], sami_session_socket_free);
}

void
between_deliver(Session *s)
{
    for (guint i = 0; i < s->held->len; i++) {
        gsize length;
        const guint8 *message = g_bytes_get_data(s->held->pdata[i], &length);
        pass_on(s, EXPORTER, SAMI_FRAME_MESSAGE, message, length);
    }
    g_ptr_array_set_size(s->held, 0);
}

static void
take(Session *s, guint from)
{
    SamiFrameType type;
    guint8 *payload;
    gsize length;
    SamiReceive receive = sami_session_socket_receive(s->ends[from], &type, &payload, &length, NULL);
    if (receive == SAMI_RECEIVE_AGAIN)
        return;
    if (receive != SAMI_RECEIVE_FRAME) {
        end_side(s, from);
        return;
    }
    if (type == SAMI_FRAME_MESSAGE) {
        if (!s->what->on_message && !s->what->on_open)
            g_ptr_array_add(s->between->recording.messages[from], g_bytes_new(payload, length));
        gboolean is_passed = !s->what->on_message || s->what->on_message(s, from, payload, &length);
        s->n[from]++;
        if (!is_passed)
            return;
    }
    pass_on(s, from, type, payload, length);
}

/* One turn: what the exporter asks for, and what the sessions have. */
static void
turn(Between *between, const BetweenCase *what)
{
    g_autoptr(GArray) entries = g_array_new(FALSE, TRUE, sizeof(struct pollfd));
    struct pollfd channel = { between->channels[EXPORTER], POLLIN, 0 };
    g_array_append_val(entries, channel);
    for (guint i = 0; i < between->sessions->len; i++)
        for (guint side = 0; side < 2; side++) {
            const Session *s = between->sessions->pdata[i];
            struct pollfd entry = { s->ends[side] ? sami_session_socket_fd(s->ends[side]) : -1, POLLIN, 0 };
            g_array_append_val(entries, entry);
        }
    poll((struct pollfd *) (void *) entries->data, entries->len, 20);
    guint n_sessions = between->sessions->len;
    for (guint i = 0; i < n_sessions; i++) {
        Session *s = between->sessions->pdata[i];
        for (guint side = 0; side < 2; side++)
            if (s->ends[side] && g_array_index(entries, struct pollfd, 1 + 2 * i + side).revents)
                take(s, side);
        if (s->held_until_us && g_get_monotonic_time() >= s->held_until_us) {
            s->held_until_us = 0;
            between_deliver(s);
        }
    }
    if (!(g_array_index(entries, struct pollfd, 0).revents & POLLIN))
        return;
    SamiChannelType type;
    guint32 request = 0;
    g_autofree gchar *text = NULL;
    int fd = -1;
    if (sami_channel_receive(between->channels[EXPORTER], &type, &request, &text, &fd, NULL) == SAMI_RECEIVE_FRAME && type == SAMI_CHANNEL_CONNECT)
        open_session(between, what, request);
}

/* ---- migrations ---- */

static pid_t
migrate(const Lab *lab)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    int fd = open(lab->output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    execl(lab->samictl, lab->samictl, "--config-dir", lab->directories[EXPORTER], "migrate", "--vm", lab->vm, "--to", "fw2.example", "--now", NULL);
    _exit(127);
}

/* The exit status of samictl, which is interrupted when there is no end of it: -1 if that does not help. What it leaves ends with its lease. An exporter
 * that has sent its snapshot takes a refused Message for a lost session and resumes, and the attack goes on in the next one. */
static int
run_migration(Lab *lab, const BetweenCase *what)
{
    gint64 start_us = g_get_monotonic_time(), end_us = start_us + CASE_TIMEOUT_S * G_USEC_PER_SEC;
    gboolean is_hostile = what->on_message || what->on_open;
    gint64 n_refused = count_refused(lab, what->reason);
    guint n_told = 0;
    int status = 0;
    pid_t pid = migrate(lab);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        gint64 now_us = g_get_monotonic_time();
        turn(&lab->between, what);
        gboolean is_long = now_us - start_us > WATCH_US + n_told * G_USEC_PER_SEC / 4;
        if (is_hostile && n_told < 2 && is_long &&
            (n_told > 0 || !what->reason || now_us - start_us > REFUSED_US || count_refused(lab, what->reason) > n_refused)) {
            n_told++; /* it aborts; then it leaves */
            kill(pid, SIGINT);
        }
        if (now_us > end_us) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1;
        }
    }
    /* What the processes still have to say, and have to hear: that it is over. */
    for (guint i = 0; i < 5; i++)
        turn(&lab->between, what);
    g_ptr_array_set_size(lab->between.sessions, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- what came of it ---- */

static gboolean
no_counter(const gchar *name)
{
    return FALSE;
}

static void
set_vm(Lab *lab, guint i)
{
    g_free(lab->vm);
    lab->vm = g_strdup_printf("10.0.0.%u", FIRST_VM + i);
}

/* Those of the VM in a text with a flow a line. */
static guint
count_lines(const Lab *lab, const gchar *text)
{
    g_autofree gchar *pattern = g_strdup_printf(" %s:", lab->vm);
    guint n = 0;
    for (const gchar *at = text; (at = strstr(at, pattern)); at += strlen(pattern))
        n++;
    return n;
}

static guint
count_entries(const Lab *lab)
{
    g_autofree gchar *table = watch_read_table(&lab->watch);
    return count_lines(lab, table);
}

/* What cases have left is rolled back when their leases are over. */
static gboolean
becomes_empty(Lab *lab)
{
    gint64 end_us = g_get_monotonic_time() + CASE_TIMEOUT_S * G_USEC_PER_SEC;
    for (guint i = 0; between_cases[i].name; i++) {
        set_vm(lab, 1 + i);
        while (count_entries(lab) > 0) {
            if (g_get_monotonic_time() > end_us) {
                g_print("FAIL %s: %u entries are left\n", between_cases[i].name, count_entries(lab));
                return FALSE;
            }
            g_usleep(20000);
        }
    }
    return TRUE;
}

static void
flush(const Lab *lab)
{
    g_autofree gchar *command = g_strdup_printf("nsenter --net=%s conntrack -F 2>/dev/null", lab->namespaces[COLLECTOR]);
    if (system(command) != 0)
        die("conntrack -F");
}

static gboolean
run_honest(Lab *lab, const gchar *name)
{
    static const BetweenCase honest = { .name = "honest" };
    set_case(name);
    set_vm(lab, 0);
    for (guint i = 0; i < 2; i++)
        g_ptr_array_set_size(lab->between.recording.messages[i], 0);
    int status = run_migration(lab, &honest);
    guint n = count_entries(lab), n_messages = lab->between.recording.messages[EXPORTER]->len;
    gboolean is_passed = status == 0 && n > 100 && n_messages > 3;
    g_print("%s %s: exit %d, %u entries by %u Messages\n", is_passed ? "ok  " : "FAIL", name, status, n, n_messages);
    flush(lab);
    watch_read_events(&lab->watch);
    return is_passed;
}

static gboolean
run_case(Lab *lab, const BetweenCase *what)
{
    gint64 start_us = g_get_monotonic_time();
    gint64 n_refused = count_refused(lab, what->reason);
    int status = -2;
    set_case(what->name);
    set_vm(lab, 1 + (guint) (what - between_cases));
    if (what->alone)
        what->alone(&lab->between);
    else
        status = run_migration(lab, what);
    g_autofree gchar *said = NULL;
    if (!what->alone)
        g_file_get_contents(lab->output, &said, NULL, NULL);
    gboolean is_told = !what->reason || (said && strstr(said, what->reason)) || count_refused(lab, what->reason) > n_refused;
    gboolean is_failed = what->alone || (status != 0 && status != 6 && status != 8 && status != -1);
    gboolean is_there = is_alive(lab, EXPORTER) && is_alive(lab, COLLECTOR);
    watch_read_events(&lab->watch);
    gboolean is_untouched = !what->is_untouched || count_lines(lab, lab->watch.written->str) == 0;
    gboolean is_passed = is_failed && is_told && is_there && is_untouched;
    g_print("%s %s: ", is_passed ? "ok  " : "FAIL", what->name);
    if (!what->alone)
        g_print("exit %d, %s, ", status, what->reason ? what->reason : "interrupted");
    g_print("%.1f s%s%s\n", (double) (g_get_monotonic_time() - start_us) / G_USEC_PER_SEC, is_there ? "" : ", a state process is gone",
            is_untouched ? "" : ", entries");
    if (!is_passed)
        g_print("%s\n", said ? said : "");
    return is_passed;
}

int
main(int argc, char **argv)
{
    Lab lab = { .between = { .sessions = g_ptr_array_new_with_free_func(session_free), .key = sami_key_generate() } };
    guint n_failed = 0, n = 0;
    if (argc < 6)
        die("usage: hostile-between CONFIG-DIR NETNS CONFIG-DIR NETNS SAMICTL [CASE]");
    signal(SIGPIPE, SIG_IGN);
    for (guint i = 0; i < 2; i++) {
        g_autoptr(GError) error = NULL;
        lab.directories[i] = argv[1 + 2 * i];
        lab.namespaces[i] = argv[2 + 2 * i];
        g_autofree gchar *path = g_build_filename(lab.directories[i], "sami.conf", NULL), *name = g_strconcat(sides[i], ".sock", NULL);
        g_autoptr(SamiConfig) config = sami_config_load_main(path, &error);
        if (!config)
            die("%s", error->message);
        lab.sockets[i] = g_build_filename(config->run_dir, name, NULL);
        lab.between.recording.messages[i] = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    }
    lab.samictl = argv[5];
    lab.output = g_build_filename(lab.directories[0], "migrate.out", NULL);
    start(&lab);
    watch_open(&lab.watch, lab.sockets[COLLECTOR], no_counter, lab.namespaces[COLLECTOR]);
    n_failed += !run_honest(&lab, "honest");
    for (const BetweenCase *at = between_cases; at->name; at++)
        if (argc < 7 || g_str_equal(argv[6], at->name)) {
            n++;
            n_failed += !run_case(&lab, at);
        }
    n_failed += !becomes_empty(&lab);
    n_failed += !run_honest(&lab, "honest again");
    g_print("%u cases, %u failed\n", n, n_failed);
    watch_close(&lab.watch);
    for (guint i = 0; i < 2; i++) {
        close(lab.between.channels[i]);
        g_ptr_array_unref(lab.between.recording.messages[i]);
        g_free(lab.sockets[i]);
    }
    g_ptr_array_unref(lab.between.sessions);
    sami_key_free(lab.between.key);
    g_free(lab.output);
    g_free(lab.vm);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
