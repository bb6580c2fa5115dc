"""The monitor process: its duties and its judgement of workers."""
