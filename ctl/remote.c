/* -H: the same command on another host, over ssh. */
#include "ctl/ctl.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* What sshd's shell says of a command that it cannot run. samictl has no such codes. */
#define SHELL_CANNOT_RUN 126
#define SHELL_NOT_FOUND 127

/* ssh takes what begins with '-' for an option, in old versions also behind the '@', and hands the name to ProxyCommand's shell. */
static gboolean
is_host(const gchar *text)
{
    const gchar *at = strrchr(text, '@');
    const gchar *name = at ? at + 1 : text;
    gsize n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:%@[]");
    return !text[n] && *name && *name != '-' && *text != '-' && *text != '@';
}

GStrv
ctl_ssh(const gchar *host, const gchar *option, const gchar *const *more, gboolean has_terminal, GError **error)
{
    const gchar *ssh = g_getenv("SAMI_SSH");
    g_auto(GStrv) words = NULL;
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    if (!is_host(host)) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_USAGE, "%s '%s' is no [USER@]HOST", option, host);
        return NULL;
    }
    if (!g_shell_parse_argv(ssh && *ssh ? ssh : "ssh", NULL, &words, error))
        return NULL;
    for (guint i = 0; words[i]; i++)
        g_ptr_array_add(argv, g_strdup(words[i]));
    for (guint i = 0; more && more[i]; i++)
        g_ptr_array_add(argv, g_strdup(more[i]));
    if (has_terminal)
        g_ptr_array_add(argv, g_strdup("-t"));
    g_ptr_array_add(argv, g_strdup(host));
    g_ptr_array_add(argv, NULL);
    return (GStrv)g_ptr_array_free(g_steal_pointer(&argv), FALSE);
}

/* The words as the shell there gets them: ssh sends one string. (transfer full) */
gchar *
ctl_quote(const gchar *const *words)
{
    GString *text = g_string_new("samictl");
    for (guint i = 0; words[i]; i++) {
        g_autofree gchar *quoted = g_shell_quote(words[i]);
        g_string_append_printf(text, " %s", quoted);
    }
    return g_string_free(text, FALSE);
}

void
ctl_die_together(gpointer user_data)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
}

SamiExit
ctl_remote(const Ctl *ctl, const gchar *const *words, GError **error)
{
    const gchar *host = ctl->args.host;
    /* On a terminal an interrupt is for samictl there. JSON is for programs: a terminal would change its line ends. */
    gboolean has_terminal = !ctl->args.is_json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    g_auto(GStrv) ssh = ctl_ssh(host, "-H", NULL, has_terminal, error);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    gint status = 0;
    if (!ssh)
        return SAMI_EXIT_USAGE;
    g_autofree gchar *command = ctl_quote(words);
    for (guint i = 0; ssh[i]; i++)
        g_ptr_array_add(argv, ssh[i]);
    g_ptr_array_add(argv, command);
    g_ptr_array_add(argv, NULL);
    /* Standard input, output and error are ours. */
    if (!g_spawn_sync(NULL, (gchar **)argv->pdata, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_CHILD_INHERITS_STDIN, ctl_die_together, NULL, NULL, NULL,
                      &status, error)) {
        g_prefix_error(error, "-H %s: ", host);
        return SAMI_EXIT_FAILED;
    }
    gint code = WIFEXITED(status) ? WEXITSTATUS(status) : CTL_SSH_FAILED;
    if (code == CTL_SSH_FAILED)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED,
                    "ssh to %s failed: whether the command has run there is unknown; next: ssh %s samictl status", host, host);
    else if (code == SHELL_CANNOT_RUN || code == SHELL_NOT_FOUND)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s cannot run samictl: is it installed there, and in the PATH of that user?", host);
    return (SamiExit)code;
}
