"""The layer as functions: the equations, the kernels, and the choice between them."""
