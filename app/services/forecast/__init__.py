"""When jobs begin and end: run times, the simulation of the queue, capacity and autoscaling."""
