/* Main-loop helpers: a source over one descriptor whose conditions can be changed (g_unix_fd_source's cannot). */
#pragma once

#include <glib.h>

typedef gboolean (*SamiFdFunc)(GIOCondition condition, gpointer user_data);

/* Attached to the default context. `*ret_tag` is for g_source_modify_unix_fd(). (transfer full): destroy, then unref. */
GSource *sami_fd_source_new(int fd, GIOCondition condition, SamiFdFunc func, gpointer user_data, gpointer *ret_tag);
/* Another condition for the source's descriptor; 0: it is not looked at at all, so that an end which poll() always reports does not spin. *tag is the
 * one that sami_fd_source_new() gave, and stays the caller's. */
void sami_fd_source_watch(GSource *source, int fd, GIOCondition condition, gpointer *tag);
/* In the next turn of the main loop, whatever else is ready: GLib's idle sources wait until nothing is, and a peer that always has something to read
 * would keep them waiting for ever. Ends as g_idle_add() does. */
guint sami_idle_add(GSourceFunc func, gpointer user_data);
