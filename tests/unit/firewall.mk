# see tests/room.mk
