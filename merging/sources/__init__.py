"""What is merged: checkpoints, and adapters on top of them."""
