/* Runs the seeds and past crashes of a fuzz target without libFuzzer: the files that are named, or those below
 * $srcdir/tests/fuzz/seeds/TARGET for a program named fuzz-TARGET. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static guint
run_file(const gchar *path)
{
    g_autofree gchar *contents = NULL;
    gsize size;
    if (!g_file_get_contents(path, &contents, &size, NULL))
        return 0;
    puts(path);
    fflush(stdout);
    /* An exact copy: what reads behind the input is seen by AddressSanitizer. */
    guint8 *copy = size ? g_memdup2(contents, size) : g_malloc(1);
    LLVMFuzzerTestOneInput(copy, size);
    g_free(copy);
    return 1;
}

int
main(int argc, char **argv)
{
    guint n = 0;
    for (gint i = 1; i < argc; i++)
        n += run_file(argv[i]);
    if (argc == 1) {
        const gchar *srcdir = getenv("srcdir"), *target = strrchr(argv[0], '/');
        target = strstr(target ? target : argv[0], "fuzz-");
        g_autofree gchar *path = g_build_filename(srcdir ? srcdir : ".", "tests/fuzz/seeds", target + strlen("fuzz-"), NULL);
        g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
        for (const gchar *name; directory && (name = g_dir_read_name(directory));) {
            g_autofree gchar *file = g_build_filename(path, name, NULL);
            n += run_file(file);
        }
    }
    printf("%u inputs\n", n);
    return n > 0 ? 0 : 1;
}
