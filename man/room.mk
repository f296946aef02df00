# sources of man/
dist_man_MANS += man/samictl.8 man/sami.conf.5
