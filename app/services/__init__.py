"""Rules: plain arguments in, plain values out; never sees a request."""
