"""The state of a service without a disk of its own: snapshots of its home in a private data set repo on the Hub."""
