"""The proof that the chaos run can fail: guards of the mesh, each left out by a patch, and the run that misses it.

A patch is applied to a copy of the source tree, so that what is shipped has no switch. Only the checker may notice: what
`mesh check` reads, what the journal says, how long books differ. No test of the mesh itself is asked.
"""
