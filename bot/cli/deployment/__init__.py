"""`shoal deploy` and `shoal job`: shoal on other machines."""
