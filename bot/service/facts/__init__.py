"""What the service has in hand, and what the page and `shoal status` say of it."""
