"""The chaos run: the whole mesh under load, with its parts killed, paused and cut off as a seed says; then its books.

It drives the product's own `mesh up` and reads the product's own `mesh check`. What callers were told is kept beside both,
in a journal that is synced before each call and after each answer. docs/chaos.md says how to read what comes out.
"""
