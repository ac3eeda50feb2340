"""Everything that touches lm-eval: tasks, their requests, and models as lm-eval sees them."""
