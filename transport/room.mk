# sources of transport/
