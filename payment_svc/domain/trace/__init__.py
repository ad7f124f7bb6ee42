"""The life of a payment as a timeline: pure functions from what is written down of it to steps, oldest first."""

from payment_svc.domain.trace.steps import LISTED_MAX, Step
from payment_svc.domain.trace.timeline import Trace, timeline

__all__ = ["LISTED_MAX", "Step", "Trace", "timeline"]
