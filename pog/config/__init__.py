"""Settings: frozen objects, read once at the start from flags, environment and defaults, and handed down.

settings     the two tables of settings, and how they are read
options      one row of these tables
parsers      the grammar of each kind of value [pure]
endpoints    where a client listens [pure]
auth_items   the grammar of auth items, and the files that hold them
"""
