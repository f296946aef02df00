#include "replay/replay.h"

int
main(int argc, char **argv)
{
    return replay_main(argc, argv);
}
