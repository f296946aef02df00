# sources of exporter/
