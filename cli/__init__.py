"""The `mesh` command: starts everything on one machine, watches over it, shows it, and proves that its books agree.

It knows the services by their addresses and contracts only and never imports one.
"""
