"""The worker process: how it runs the code of a job, and how it is protected from that code."""
