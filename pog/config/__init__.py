"""Settings: frozen objects, read once at the start from flags, environment and defaults, and handed down.

settings     how settings are read, and those of both programs; client_settings, server_settings: the others
options      one row of these tables
parsers      the grammar of each kind of value [pure]
endpoints    where a client listens [pure]
client       what a client is started with: settings, and a file's exits and rules
file         the configuration file, in TOML
exits        one way out, as a file or a variable says it [pure]
rules        which exits a request may take [pure]
original     where defaults differ from those of the Go original
auth_items   the grammar of auth items, and the files that hold them
"""
