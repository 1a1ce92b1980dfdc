"""The paper's Algorithm 1, and the control of the methods that never go back, as plain Python without tensors."""
