"""What goes out: written checkpoints, cards, pictures, reports, and their way onto the Hub."""
