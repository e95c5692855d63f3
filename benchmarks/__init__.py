"""What the program costs, measured beside the peer or the limit it is judged by; never a timed test."""
