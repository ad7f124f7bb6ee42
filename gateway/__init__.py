"""The gateway owns nothing: HTTP outside, gRPC inside.

Routes, limits, caching and documents come out of the contract's descriptors; adding an RPC needs no change here.
It keeps two things in memory and may lose both at any time: the totals that it follows, and who reads them live.
"""
