"""The counts: what every run has used. Pure and sync, so nothing slips between check and charge."""
