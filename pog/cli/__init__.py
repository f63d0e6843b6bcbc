"""The command line; it alone wires client and server together.

main       the group of all commands
group      how an error ends a command, and how a command says something
options    options of commands, made from the settings table
programs   up, server, client
run        run
connect    connect
shell      env, completion
variables  by which programs know their proxy, as shells write them
ask        health, stacks
auth       auth new, genauthitem
up         both ends in one process
workers    the supervisor of `pog server --workers`
"""
