"""The admin plane: probes and the API of the people who run the gateway."""
