"""What people are told: following jobs and batches, the feed of the browser, and the telling."""
