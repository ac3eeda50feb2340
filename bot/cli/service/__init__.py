"""The commands of a bot that runs as a service."""
