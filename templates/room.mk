# sources of templates/
