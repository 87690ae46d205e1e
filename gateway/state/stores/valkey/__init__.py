"""A Valkey (or Redis from 7 on) that gateways share: what each asks and tells there, and what it does while that is out of reach."""
