"""What the Hub keeps in its folder, and what it derives from it. No HTTP here."""
