"""Skills judged by pictures: an item is a prompt and a seed, and a judge gives its picture a number."""
