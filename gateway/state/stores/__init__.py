"""Where counts and switches live between two processes. This file holds what every store can do."""
