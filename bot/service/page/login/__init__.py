"""Who looks at the page."""
