# sources of packaging/
noinst_LIBRARIES += libvmstate.a
libvmstate_a_SOURCES = \
	packaging/qemu/gate.c \
	packaging/qemu/qmp.c packaging/qemu/qmp.h \
	packaging/qemu/source.c \
	packaging/qemu/token.c packaging/qemu/token.h \
	packaging/qemu/vmstate.c packaging/qemu/vmstate.h

sbin_PROGRAMS += sami-vmstate
sami_vmstate_SOURCES = packaging/qemu/main.c
sami_vmstate_LDADD = libvmstate.a libcommon.a $(JSON_LIBS) $(GLIB_LIBS) -lpthread
EXTRA_DIST += packaging/README

dist_sbin_SCRIPTS += packaging/libvirt/sami-virsh-migrate packaging/keepalived/sami-notify
completiondir = $(datadir)/bash-completion/completions
dist_completion_DATA = packaging/bash-completion/samictl
hookdir = $(pkgdatadir)/libvirt
dist_hook_SCRIPTS = packaging/libvirt/qemu-hook

unitdir = $(prefix)/lib/systemd/system
sysctldir = $(prefix)/lib/sysctl.d
modulesdir = $(prefix)/lib/modules-load.d
nodist_unit_DATA = packaging/systemd/sami-collector.service packaging/systemd/sami-exporter.service
dist_sysctl_DATA = packaging/systemd/60-sami.conf
dist_modules_DATA = packaging/systemd/sami.conf
EXTRA_DIST += packaging/systemd/sami-collector.service.in packaging/systemd/sami-exporter.service.in
CLEANFILES += $(nodist_unit_DATA)
$(nodist_unit_DATA): %: $(srcdir)/%.in Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && sed -e 's|[@]sbindir[@]|$(sbindir)|g; s|[@]sysconfdir[@]|$(sysconfdir)|g; s|[@]localstatedir[@]|$(localstatedir)|g' $< >$@
