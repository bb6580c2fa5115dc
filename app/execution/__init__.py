"""What happens inside a worker's process while a job's own code runs, and what that code may not do to it."""
