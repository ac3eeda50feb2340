"""Jobs and scheduled Jobs, as records alone: the local Hub runs none of them."""
