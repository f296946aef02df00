#include "ctl/enrol.h"

#include <errno.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/value.h"

/* A peer file is at most 64 KiB; the rest is for what else is said. The far end is not believed yet. */
#define OUTPUT_MAX (128u * 1024u)

gboolean
ctl_ssh_url_init(CtlSshUrl *url, const gchar *text, GError **error)
{
    const gchar *login = text + strlen(CTL_SSH_SCHEME), *at = strrchr(login, '@');
    const gchar *host = at ? at + 1 : login, *end = host + strcspn(host, "/?#");
    gboolean is_bracketed = *host == '[';
    const gchar *close = is_bracketed ? memchr(host, ']', (gsize)(end - host)) : NULL;
    const gchar *colon = is_bracketed ? (close && close[1] == ':' ? close + 1 : NULL) : memchr(host, ':', (gsize)(end - host));
    const gchar *name = is_bracketed ? host + 1 : host, *name_end = is_bracketed ? close : colon ? colon : end;
    guint64 port = 0;
    g_autofree gchar *number = colon ? g_strndup(colon + 1, (gsize)(end - colon - 1)) : NULL;
    gboolean is_good = name_end && name_end > name && (!is_bracketed || close + 1 == (colon ? colon : end)) && (!*end || !strcmp(end, "/")) &&
                       (!number || sami_value_uint(number, 1, 65535, &port, NULL));
    if (!is_good) {
        g_autofree gchar *quoted = g_strescape(text, NULL);
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "'%s' is no ssh://[USER@]HOST[:PORT]", quoted);
        return FALSE;
    }
    g_autofree gchar *user = at ? g_strndup(login, (gsize)(at + 1 - login)) : g_strdup("");
    g_autofree gchar *bare = g_strndup(name, (gsize)(name_end - name));
    url->login = g_strconcat(user, bare, NULL);
    url->host = g_ascii_strdown(bare, -1);
    url->port = g_steal_pointer(&number);
    return TRUE;
}

void
ctl_ssh_url_clear(CtlSshUrl *url)
{
    g_clear_pointer(&url->login, g_free);
    g_clear_pointer(&url->host, g_free);
    g_clear_pointer(&url->port, g_free);
}

typedef struct {
    int fds[3]; /* -1: closed */
    const gchar *input;
    GString *said[3]; /* [1], [2] */
    gsize max;        /* octets of both */
} Pipes;

static void
close_pipe(Pipes *pipes, guint i)
{
    if (pipes->fds[i] >= 0)
        close(pipes->fds[i]);
    pipes->fds[i] = -1;
}

static void
write_pipe(Pipes *pipes)
{
    ssize_t n = pipes->input && *pipes->input ? write(pipes->fds[0], pipes->input, strlen(pipes->input)) : 0;
    if (n > 0)
        pipes->input += n;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || !*pipes->input)
        close_pipe(pipes, 0);
}

static void
read_pipe(Pipes *pipes, guint i)
{
    gchar buffer[4096];
    ssize_t n = read(pipes->fds[i], buffer, sizeof buffer);
    if (n > 0)
        g_string_append_len(pipes->said[i], buffer, n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close_pipe(pipes, i);
}

/* FALSE: it says more than anybody needs. */
static gboolean
transfer(Pipes *pipes)
{
    while (pipes->fds[1] >= 0 || pipes->fds[2] >= 0) {
        struct pollfd polled[3];
        for (guint i = 0; i < 3; i++)
            polled[i] = (struct pollfd){.fd = pipes->fds[i], .events = i == 0 ? POLLOUT : POLLIN};
        if (poll(polled, 3, -1) < 0 && errno != EINTR)
            break;
        if (polled[0].revents)
            write_pipe(pipes);
        for (guint i = 1; i < 3; i++)
            if (polled[i].revents)
                read_pipe(pipes, i);
        if (pipes->said[1]->len + pipes->said[2]->len > pipes->max)
            return FALSE;
    }
    return TRUE;
}

/* ssh(1): with an unknown or changed host key it gives up, and says this. */
static void
explain(const CtlSshUrl *url, const gchar *said, GError **error)
{
    gboolean is_key = strstr(said, "Host key verification failed") != NULL;
    g_autofree gchar *port = url->port ? g_strdup_printf("-p %s ", url->port) : g_strdup("");
    if (is_key)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_REFUSED,
                    "ssh does not know the host key of %s, or it has changed; nobody is trusted on first use. next: compare what\n"
                    "  ssh %s%s          shows and asks about\n"
                    "with what  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub  says there, and then run this again", url->host, port, url->login);
    else
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "ssh to %s failed; next: ssh %s%s samictl --version", url->host, port, url->login);
}

static GPtrArray *
make_argv(const CtlSshUrl *url, const gchar *const *words, GError **error)
{
    /* What ssh has been told before us wins, which is nothing but what the operator wrote into SAMI_SSH; a configuration file does not. */
    const gchar *options[] = {"-T", "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no", url->port ? "-p" : NULL, url->port, NULL};
    g_auto(GStrv) ssh = ctl_ssh(url->login, CTL_SSH_SCHEME, options, FALSE, error);
    if (!ssh)
        return NULL;
    GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; ssh[i]; i++)
        g_ptr_array_add(argv, g_strdup(ssh[i]));
    g_ptr_array_add(argv, ctl_quote(words));
    g_ptr_array_add(argv, NULL);
    return argv;
}

gboolean
ctl_ssh_collect(gchar *const *argv, const gchar *input, gsize max, GString *out, GString *err, gint *ret_code, GError **error)
{
    Pipes pipes = {.fds = {-1, -1, -1}, .input = input, .said = {NULL, out, err}, .max = max};
    GPid pid = 0;
    int status = 0;
    if (!g_spawn_async_with_pipes(NULL, (gchar **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, ctl_die_together, NULL, &pid,
                                  input ? &pipes.fds[0] : NULL, &pipes.fds[1], &pipes.fds[2], error))
        return FALSE;
    for (guint i = 0; i < 3; i++)
        if (pipes.fds[i] >= 0)
            g_unix_set_fd_nonblocking(pipes.fds[i], TRUE, NULL);
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    gboolean is_whole = transfer(&pipes);
    signal(SIGPIPE, before);
    for (guint i = 0; i < 3; i++)
        close_pipe(&pipes, i);
    if (!is_whole)
        kill(pid, SIGTERM);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    g_string_replace(err, "\r\n", "\n", 0); /* as ssh itself writes */
    if (is_whole)
        ctl_say(stderr, "%s", err->str);
    *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : CTL_SSH_FAILED;
    if (!is_whole)
        g_set_error_literal(error, SAMI_ERROR, SAMI_ERROR_MALFORMED, "it says more than samictl ever does; nothing was taken from it");
    return is_whole;
}

gchar *
ctl_ssh_run(const CtlSshUrl *url, const gchar *const *words, const gchar *input, gint *ret_code, GError **error)
{
    g_autoptr(GPtrArray) argv = make_argv(url, words, error);
    g_autoptr(GString) out = g_string_new(NULL), err = g_string_new(NULL);
    if (!argv)
        return NULL;
    if (!ctl_ssh_collect((gchar *const *)argv->pdata, input, OUTPUT_MAX, out, err, ret_code, error))
        g_prefix_error(error, "%s: ", url->host);
    else if (*ret_code == CTL_SSH_FAILED)
        explain(url, err->str, error);
    else
        return g_string_free(g_steal_pointer(&out), FALSE);
    return NULL;
}
