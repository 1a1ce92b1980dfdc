"""Algorithm 1 of the paper, and the control of the methods that never go back, in plain Python without tensors."""
