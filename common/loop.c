#include "common/loop.h"

typedef struct {
    GSource source;
    gpointer tag;
} FdSource;

static gboolean
prepare(GSource *source, gint *timeout)
{
    *timeout = -1;
    return FALSE;
}

static gboolean
check(GSource *source)
{
    gpointer tag = ((FdSource *) source)->tag;
    return tag && g_source_query_unix_fd(source, tag) != 0;
}

static gboolean
dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
    SamiFdFunc func = (SamiFdFunc) (void (*)(void)) callback;
    return func(g_source_query_unix_fd(source, ((FdSource *) source)->tag), user_data);
}

GSource *
sami_fd_source_new(int fd, GIOCondition condition, SamiFdFunc func, gpointer user_data, gpointer *ret_tag)
{
    static GSourceFuncs functions = { .prepare = prepare, .check = check, .dispatch = dispatch };
    GSource *source = g_source_new(&functions, sizeof(FdSource));
    gpointer tag = g_source_add_unix_fd(source, fd, condition);
    ((FdSource *) source)->tag = tag;
    g_source_set_callback(source, (GSourceFunc) (void (*)(void)) func, user_data, NULL);
    g_source_attach(source, NULL);
    if (ret_tag)
        *ret_tag = tag;
    return source;
}

void
sami_fd_source_watch(GSource *source, int fd, GIOCondition condition, gpointer *tag)
{
    FdSource *own = (FdSource *) source;
    if (own->tag && condition)
        g_source_modify_unix_fd(source, own->tag, condition);
    else if (own->tag)
        g_source_remove_unix_fd(source, g_steal_pointer(&own->tag));
    else if (condition)
        own->tag = g_source_add_unix_fd(source, fd, condition);
    *tag = own->tag;
}

guint
sami_idle_add(GSourceFunc func, gpointer user_data)
{
    return g_idle_add_full(G_PRIORITY_DEFAULT, func, user_data, NULL);
}
