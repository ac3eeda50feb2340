"""Writes what runs shoal elsewhere: containers, systemd units, Spaces and Jobs of the Hub."""
