"""Reading jobs and acting on them."""
