# sources of ctl/
