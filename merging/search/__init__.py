"""Where merges are looked for, and how."""
