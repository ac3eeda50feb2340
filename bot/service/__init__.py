"""Services that run until they are stopped: the schedule, and the local Hub."""
