"""The money invariants, one function each: read-only, from outside, of any mesh, also while money moves.

`catalogue` lists them; docs/invariants.md says how each is read.
"""
