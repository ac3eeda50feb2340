"""The routes of the page, and whom they let in."""
