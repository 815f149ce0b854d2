"""The guarded web client that runs under img2dataset: addresses, robots, consent, limits."""

from actors.web.fetcher import Fetcher, FetchJob

__all__ = ["FetchJob", "Fetcher"]
