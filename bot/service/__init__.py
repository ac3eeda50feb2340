"""What runs for a long time: the schedule, and a Hub on this machine."""
