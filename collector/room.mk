# sources of collector/
