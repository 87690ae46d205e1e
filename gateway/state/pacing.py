"""Pacers: one FIFO queue a tool, whose head waits for the tool's rate, a free place, or the end of a pause its upstream asked for."""
# ruff: noqa: ARG002

from typing import Protocol

from gateway.bounds import Pace


class Place(Protocol):
    """A place among the attempts at work of a tool."""

    def leave(self) -> None:
        """Safe to call twice."""
        ...


class Pacer:
    """One tool's queue, whoever calls."""

    waiting: int
    """Attempts in the queue."""

    def turn(self, pace: Pace, now: float) -> float | None:
        """Seconds until an attempt that joined now would have its turn, as far as rate and pause tell; None: others must leave first."""
        raise NotImplementedError

    async def enter(self, pace: Pace) -> Place:
        """Waits for its turn. Cancelling gives the place in the queue back, and nothing was used."""
        raise NotImplementedError


class Pacers:
    """All of them, by tool."""

    def of(self, tool: str, pace: Pace) -> Pacer | None:
        """None: nothing holds this tool's attempts up, they need not line up."""
        return None

    def pause(self, tool: str, until: float) -> None:
        """The upstream answered 429 and named a time: no attempt of this tool until then (loop time)."""
