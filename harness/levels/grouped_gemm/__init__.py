"""The level of a grouped GEMM: f(X [M, K], W [E, N, K], m_sizes [E]) -> Y [M, N]."""
