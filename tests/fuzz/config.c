/* Configuration files: the group that an input names says which file of the directory it is. */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <unistd.h>

#include "common/config.h"

static const struct {
    const gchar *group, *directory, *file;
} files[] = {
    {"[peer]", "peers.d", "peers.d/x.conf"},
    {"[signer]", "signers.d", "signers.d/x.conf"},
    {"[vm]", "vms.d", "vms.d/x.conf"},
    {NULL, ".", "sami.conf"},
};

static gchar *
make_directory(void)
{
    gchar *top = g_dir_make_tmp("sami-fuzz.XXXXXX", NULL);
    g_assert(top);
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree gchar *path = g_build_filename(top, files[i].directory, NULL);
        g_mkdir_with_parents(path, 0700);
    }
    return top;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gchar *top;
    guint i = 0;
    g_autoptr(GError) error = NULL;
    if (!top)
        top = make_directory();
    while (files[i].group && !g_strstr_len((const gchar *)data, (gssize)size, files[i].group))
        i++;
    g_autofree gchar *conf = g_build_filename(top, "sami.conf", NULL);
    g_autofree gchar *path = g_build_filename(top, files[i].file, NULL);
    g_assert(g_file_set_contents_full(conf, "[sami]\nname=a.example\n", -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
    g_assert(g_file_set_contents_full(path, (const gchar *)data, (gssize)size, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
    g_autoptr(SamiConfig) config = sami_config_load(conf, &error);
    g_assert(!config != !error && (!error || g_utf8_validate(error->message, -1, NULL)));
    if (files[i].group)
        unlink(path);
    return 0;
}
