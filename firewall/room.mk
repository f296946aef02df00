# sources of firewall/
