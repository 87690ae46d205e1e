"""tool-gateway: a sidecar proxy between an AI agent and its tools. Start reading at model.py."""
