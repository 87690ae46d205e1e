"""One call from admission to record: guards, reservation, attempts, answer, settlement."""
