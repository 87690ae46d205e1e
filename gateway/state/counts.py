"""Everything guards may look at, in one place."""
