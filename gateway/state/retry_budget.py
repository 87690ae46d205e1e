"""Retry budgets: retries of an upstream are bounded by the first attempts made at it, so that no outage is amplified. Pure."""
# ruff: noqa: ARG002


class RetryBudgets:
    """One budget an upstream (a built-in tool counts as its own), over the same sliding 10 seconds for both kinds of attempt."""

    def first(self, upstream: str, now: float) -> None:
        """Notes the first attempt of a call."""

    def take(self, upstream: str, at: float, now: float, percent: int) -> bool:
        """May a retry be made at `at` (>= now)? If so it is counted."""
        return True
