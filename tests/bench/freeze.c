/* One freeze, timed: for bench.sh, which repeats and compares.
 *
 *   bench-freeze NETNS SOCKET ID N CHANGED MARK [SAMICTL DIR]
 *
 * Changes the marks of CHANGED of the N flows that sami-table has filled into NETNS, as another user of the kernel would, and asks the
 * exporter at SOCKET for the freeze in the same moment: so all that the changes cost is in what is measured. With SAMICTL it is that
 * program that asks. Prints the exporter's own time from the request to READY and the time that the caller waited, in seconds, how it was
 * frozen, and the exit code. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/control.h"
#include "tests/tools/kernel-table.h"

static JsonObject *
ask(const gchar *socket, const gchar *verb, const gchar *id)
{
    g_autoptr(GError) error = NULL;
    JsonObject *request = json_object_new();
    json_object_set_string_member(request, "cmd", verb);
    json_object_set_string_member(request, "id", id);
    JsonObject *answer = sami_control_call(socket, request, NULL, NULL, &error);
    json_object_unref(request);
    if (!answer) {
        g_printerr("bench-freeze: %s: %s\n", verb, error->message);
        exit(1);
    }
    return answer;
}

static gint64
run_samictl(const gchar *samictl, const gchar *dir, const gchar *id)
{
    int status = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        execl(samictl, samictl, "--config-dir", dir, "-q", "freeze", id, NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
        g_printerr("bench-freeze: %s: %s\n", samictl, g_strerror(errno));
        exit(1);
    }
    return WEXITSTATUS(status);
}

static JsonObject *
status_of(const gchar *socket, const gchar *id)
{
    JsonArray *list = json_object_get_array_member(ask(socket, "status", id), "migrations");
    if (json_array_get_length(list) != 1) {
        g_printerr("bench-freeze: no migration %s\n", id);
        exit(1);
    }
    return json_array_get_object_element(list, 0);
}

int
main(int argc, char **argv)
{
    if (argc != 7 && argc != 9) {
        g_printerr("usage: bench-freeze NETNS SOCKET ID N CHANGED MARK [SAMICTL DIR]\n");
        return 2;
    }
    const gchar *socket = argv[2], *id = argv[3];
    TableFill what = { .kind = TABLE_MIXED, .modulo = (guint) atoi(argv[4]), .n = (guint) atoi(argv[5]), .mark = (guint32) atoi(argv[6]) };
    double waited, seconds;
    int failure;
    gint64 code;
    table_enter(argv[1]);
    TableBatches *batches = table_build(&what);
    if (table_inject(batches, &seconds, &failure) > 0) {
        g_printerr("bench-freeze: a flow is not there: %s\n", g_strerror(failure));
        return 1;
    }
    double began = table_now();
    JsonObject *answer = argc == 7 ? ask(socket, "freeze", id) : NULL;
    code = answer ? json_object_get_int_member_with_default(answer, "exit", -1) : run_samictl(argv[7], argv[8], id);
    waited = table_now() - began;
    if (!answer)
        answer = status_of(socket, id);
    printf("%.6f %.6f %s %d\n", json_object_get_double_member_with_default(answer, "freeze_ready_ms", -1000) / 1000, waited,
           json_object_get_string_member_with_default(answer, "freeze", "?"), (int) code);
    return 0;
}
