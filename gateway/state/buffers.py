"""How many bytes of requests and replies are held at once, over all calls (GATEWAY_MAX_BUFFERED_BYTES). Pure."""


class Buffers:
    """One sum with a limit. Whoever takes bytes gives the same number back when they are let go."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """False, and nothing taken, where the sum would outgrow the limit."""
        if self.held + size > self.limit:
            return False
        self.held += size
        return True

    def owe(self, size: int) -> None:
        """Counts what is held already and cannot be refused; others are, until it is given back."""
        self.held += size

    def give(self, size: int) -> None:
        self.held -= size
