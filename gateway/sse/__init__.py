"""Server streams of the contract as server-sent events, served by a process of its own."""

from gateway.sse.streams import Streams
from gateway.sse.totals import WATCH_TOTALS, TotalsFeed

__all__ = ["WATCH_TOTALS", "Streams", "TotalsFeed"]
