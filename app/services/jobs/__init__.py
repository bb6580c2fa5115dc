"""What can be asked of jobs and done to them."""
