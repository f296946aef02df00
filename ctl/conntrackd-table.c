/* Prints the options of conntrackd.conf for sami-conntrackd(7), from the table that the importer runs on. */
#include <stdio.h>

#include "ctl/conntrackd-conf.h"

int
main(void)
{
    g_autofree gchar *text = ctl_conntrackd_table();
    return fputs(text, stdout) < 0;
}
