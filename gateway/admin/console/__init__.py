"""The operators' console: one page, served as it lies in static/. What it shows comes from the API, and needs the token."""
