"""Stripe, acted out: its API, its test cards, its idempotency keys, its webhooks, and faults on request.

A call is one function over a `Work`, which is one transaction: changed objects, announced events, queued deliveries and
the answer that is saved under the idempotency key are committed together or not at all.
"""
